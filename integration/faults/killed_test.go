package faults_test

import "testing"

func TestAServerThatIsKilledLogsNobodyOut(t *testing.T) {
	for _, c := range []struct {
		name      string
		start     func(t *testing.T) *server
		refreshes int64
	}{
		{"Redis", startRedis, 10_000},
		{"PostgreSQL", startPostgres, 5000},
		{"MariaDB", startMariaDB, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			database := c.start(t)
			s, follower := newStorm(t, database.service(t)), database.service(t)
			s.during(t, c.refreshes, database.kill, func() { database.start(t) })
			s.settle(t, database.service(t), follower)
		})
	}
}
