package keys

// SetOf returns a set of several keys, the first of which signs.
func SetOf(first Key, others ...Key) *Set {
	set := &Set{active: first.m.set.active, keys: []*material{first.m}}
	for _, k := range others {
		set.keys = append(set.keys, k.m)
	}
	return set
}
