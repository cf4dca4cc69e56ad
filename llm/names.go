package llm

import (
	"slices"
	"strings"
)

// mostNames bounds how many names a names tells apart.
const mostNames = 32

// names counts names. Of more than mostNames different ones it keeps the first
// in alphabetical order and counts the rest together, so that state is bounded
// whatever producers send. What it keeps has exact counts, and does not depend
// on the order of events or merges: a name among the first of all was among the
// first at every moment. The zero names is empty.
type names struct {
	all    []named // by name
	others int64
}

type named struct {
	name  string
	count int64
}

// add counts a name n times. It keeps a copy of the name.
func (s *names) add(name string, n int64) {
	i, found := slices.BinarySearchFunc(s.all, name, func(a named, name string) int { return strings.Compare(a.name, name) })
	switch {
	case found:
		s.all[i].count += n
		return
	case i == mostNames:
		s.others += n
		return
	case len(s.all) == mostNames:
		s.others += s.all[mostNames-1].count
		s.all = s.all[:mostNames-1]
	}
	s.all = slices.Insert(s.all, i, named{strings.Clone(name), n})
}

// merge adds what from has counted, and leaves from as it is.
func (s *names) merge(from *names) {
	for _, n := range from.all {
		s.add(n.name, n.count)
	}
	s.others += from.others
}

// total returns how many names were counted.
func (s *names) total() int64 {
	sum := s.others
	for _, n := range s.all {
		sum += n.count
	}
	return sum
}
