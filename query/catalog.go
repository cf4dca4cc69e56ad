package query

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// store is what the server knows of a store wherever its tasks run.
type store struct {
	name string
	kind stores.Kind
	// keys reads the text form of keys; it has no state.
	keys stores.Queryable
}

// catalog holds the topology's stores by name. It is not changed.
type catalog map[string]*store

// newCatalog opens each store once, empty and in memory, and keeps what reads
// keys: an instance can so tell the owner of a key though it holds no task of
// the store.
func newCatalog(t *topology.Topology) (catalog, error) {
	c := catalog{}
	for _, sub := range t.SubTopologies() {
		db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
		if err != nil {
			return nil, err
		}
		_, err = t.OpenStores(sub.ID, db)
		for _, q := range db.Queryables() {
			c[q.Name()] = &store{name: q.Name(), kind: q.Kind(), keys: q}
		}
		if err = errors.Join(err, db.Close()); err != nil {
			return nil, fmt.Errorf("query: stores of sub-topology %q: %w", sub.Name, err)
		}
	}
	return c, nil
}

func (c catalog) names() []string { return slices.Sorted(maps.Keys(c)) }

// find returns a store, or an error that lists those there are.
func (c catalog) find(name string) (*store, error) {
	if st := c[name]; st != nil {
		return st, nil
	}
	names := "has none"
	if len(c) > 0 {
		names = "has " + strings.Join(c.names(), ", ")
	}
	return nil, fail(http.StatusNotFound, CodeUnknownStore, "there is no store %q: the topology %s", name, names)
}

func (st *store) windowed() bool { return st.kind == stores.WindowedKind }

// mustHaveWindows and mustHaveNone say which path suits the store.
func (st *store) mustHaveWindows() error {
	if st.windowed() {
		return nil
	}
	return bad(CodeWrongKind, "store %q has no windows: ask /v1/stores/%[1]s/keys or /v1/stores/%[1]s/keys/{key}", st.name)
}

func (st *store) mustHaveNone() error {
	if !st.windowed() {
		return nil
	}
	return bad(CodeWrongKind, "store %q has windows: ask /v1/stores/%[1]s/windows or /v1/stores/%[1]s/keys/{key}/windows", st.name)
}

// parse returns the encoded key that text stands for.
func (st *store) parse(param, text string) ([]byte, error) {
	if len(text) > maxKeyText {
		return nil, bad(CodeBadKey, "%s has %d bytes: at most %d are taken", param, len(text), maxKeyText)
	}
	key, err := st.keys.ParseKey(text)
	if err != nil {
		return nil, bad(CodeBadKey, "%s of store %q: %v", param, st.name, err)
	}
	return key, nil
}

// info returns the store's place on the cluster.
func (s *Server) info(st *store) (streams.StoreInfo, error) {
	all := s.inst.Stores()
	i, ok := slices.BinarySearchFunc(all, st.name, func(i streams.StoreInfo, name string) int { return cmp.Compare(i.Name, name) })
	if !ok || all[i].Tasks == 0 {
		return streams.StoreInfo{}, unavailable(CodeStarting, "the instance has not reached the cluster yet")
	}
	return all[i], nil
}
