package past

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClock(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	// In each step, time passes, the wall clock is set forward or back, and the Clock is read.
	type step struct {
		pass, set time.Duration
		behind    time.Duration // how far the result is behind the wall clock
	}
	for name, steps := range map[string][]step{
		"a clock that is right": {{0, 0, 0}, {time.Hour, 0, 0}, {year, 0, 0}},
		"a clock that starts in 1970 and is set once": {
			{time.Minute, 56 * year, 56 * year}, {time.Hour, 0, 56 * year}, {day - time.Hour - time.Second, 0, 56 * year}, {time.Second, 0, 0}, {year, 0, 0},
		},
		"a clock that starts in 1970 and is read twice in weeks": {{time.Minute, 56 * year, 56 * year}, {15 * day, 0, 0}},
		"a clock that is set forward and back":                   {{time.Minute, year, year}, {time.Hour, -year, 0}, {2 * day, 0, 0}},
		"a clock that is set forward, back and forward again": {
			{time.Minute, year, year}, {day - time.Second, -year, 0}, {time.Second, year, year}, {time.Hour, 0, year}, {day, 0, 0},
		},
		"a clock that is set forward, and back by half": {
			{time.Minute, year, year}, {time.Hour, -year / 2, year / 2}, {day - time.Second, 0, year / 2}, {time.Second, 0, 0},
		},
		"a clock that is set forward and corrected a little": {
			{time.Minute, year, year}, {time.Hour, -time.Second, year - time.Second}, {day, 0, 0},
		},
		"a clock that is set forward again before it is believed": {{time.Minute, year, year}, {day, time.Hour, time.Hour}},
		"a clock that is set back":                                {{time.Minute, -year, 0}, {day, 0, 0}, {2 * year, 0, 0}},
		"a clock that is set back and forward":                    {{time.Minute, -year, 0}, {day, year, 0}, {day, 0, 0}},
		"a clock that jumps a little further each hour": {
			{time.Hour, time.Hour, time.Hour}, {time.Hour, time.Hour, 2 * time.Hour}, {time.Hour, time.Hour, 3 * time.Hour},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := time.Duration(0)
				wall := func() time.Time { return time.Now().Add(set) }
				c := New(wall)
				for i, s := range steps {
					time.Sleep(s.pass)
					set += s.set
					c.Now()
					require.Equal(t, s.behind, wall().Sub(c.Now()), "step %d", i)
				}
			})
		})
	}
}
