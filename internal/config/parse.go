package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Options say what a file may refer to.
type Options struct {
	// Sources are the names that may stand under "sources".
	Sources []string
}

// MaxSize is how long a file may be, in bytes.
const MaxSize = 1 << 20

// Parse reads a configuration. The error is an Errors with everything that is
// wrong; file is for its messages only. An empty file sets nothing.
func Parse(file string, text []byte, o Options) (*Config, error) {
	c := &Config{Sources: map[string]*Source{}}
	r := &reader{file: file, lines: map[string]int{}}
	all := keys(c, o.Sources)
	if root := r.document(text); root != nil {
		r.group("", all, root)
	}
	if len(r.errors) == 0 {
		r.contradictions(c)
	}
	if len(r.errors) > 0 {
		slices.SortStableFunc(r.errors, func(a, b Error) int { return a.Line - b.Line })
		return nil, r.errors
	}
	return c, nil
}

// reader collects what is wrong with a file.
type reader struct {
	file   string
	errors Errors
	lines  map[string]int // of each key, by its path
}

func (r *reader) fail(line int, path, format string, args ...any) {
	r.errors = append(r.errors, Error{r.file, max(line, 1), path, fmt.Sprintf(format, args...)})
}

// document returns the one document of a file, or nil if it is empty or broken.
func (r *reader) document(text []byte) *yaml.Node {
	if len(text) > MaxSize {
		r.fail(1, "", "the file has %d bytes, more than %d", len(text), MaxSize)
		return nil
	}
	if !utf8.Valid(text) {
		r.fail(1+bytes.Count(text[:validPrefix(text)], []byte("\n")), "", "the file is not UTF-8 text")
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		r.fail(1, "", "%v", err)
		return nil
	}
	var first, second yaml.Node
	switch err := loader.Load(&first); {
	case err == io.EOF:
		return nil
	case err != nil:
		r.syntax(err, text)
		return nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		r.fail(second.Line, "", "a second document begins; want one")
	case err != io.EOF:
		r.syntax(err, text)
	}
	if first.Kind != yaml.DocumentNode {
		return &first
	}
	return first.Content[0]
}

// validPrefix returns how many bytes are UTF-8.
func validPrefix(text []byte) int {
	n := 0
	for n < len(text) {
		c, size := utf8.DecodeRune(text[n:])
		if c == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// syntax reports what the YAML parser found. Of a tab it does not always say so,
// and nobody sees one.
func (r *reader) syntax(err error, text []byte) {
	at, ok := errors.AsType[*yaml.LoadError](err)
	switch {
	case !ok:
		r.fail(1, "", "not YAML: %v", err)
	case at.Mark.Index < utf8.RuneCount(text) && []rune(string(text))[at.Mark.Index] == '\t': // it counts runes
		r.fail(at.Mark.Line, "", "not YAML: a tab in column %d, where YAML takes only spaces", at.Mark.Column)
	default:
		r.fail(at.Mark.Line, "", "not YAML: %s", at.Message)
	}
}

// group reads the keys of a mapping; path is that of the mapping.
func (r *reader) group(path string, keys []named, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, path, "want a group of keys (%s), found %s", strings.Join(names(keys), ", "), found(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		inner := strings.TrimPrefix(path+"."+clip(name.Value), ".")
		if before, twice := r.lines[inner]; twice {
			r.fail(name.Line, inner, "given twice, first in line %d", before)
			continue
		}
		r.lines[inner] = name.Line
		if name.Kind != yaml.ScalarNode || name.Tag == "!!merge" {
			r.fail(name.Line, path, "want a plain key, found %s", found(name))
			continue
		}
		at := slices.IndexFunc(keys, func(k named) bool { return k.name == name.Value })
		if at < 0 {
			r.fail(name.Line, inner, "unknown key%s", suggestion(name.Value, names(keys)))
			continue
		}
		r.key(inner, keys[at].key, name, value)
	}
}

func (r *reader) key(path string, k key, name, value *yaml.Node) {
	if value.Kind == yaml.AliasNode || value.Anchor != "" {
		r.fail(value.Line, path, "anchors and aliases are not taken here: write the value out")
		return
	}
	switch {
	case k.refused != "":
		r.fail(name.Line, path, "%s", k.refused)
	case k.group != nil:
		r.group(path, k.group, value)
	default:
		k.read(r, path, value)
	}
}

func names(keys []named) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.name)
	}
	return all
}

// contradictions checks what single values cannot show.
func (r *reader) contradictions(c *Config) {
	pair := func(path string, set bool, needs string, other bool) {
		if set && !other {
			r.fail(r.lines[path], path, "needs %s too", needs)
		}
	}
	pair("tls.cert_file", c.TLS.CertFile.IsSet, "tls.key_file", c.TLS.KeyFile.IsSet)
	pair("tls.key_file", c.TLS.KeyFile.IsSet, "tls.cert_file", c.TLS.CertFile.IsSet)
	if off := c.TLS.Enabled; off.IsSet && !off.Value && (c.TLS.CAFile.IsSet || c.TLS.CertFile.IsSet || c.TLS.KeyFile.IsSet) {
		r.fail(off.Line, "tls.enabled", "is false, and the files below tls turn TLS on: leave one of them out")
	}
	pair("sasl.mechanism", c.SASL.Mechanism.IsSet, "sasl.user", c.SASL.User.IsSet)
	pair("sasl.user", c.SASL.User.IsSet, "sasl.mechanism", c.SASL.Mechanism.IsSet)
	pair("sasl.password_file", c.SASL.PasswordFile.IsSet, "sasl.mechanism", c.SASL.Mechanism.IsSet)

	s := &c.State
	if s.HotOnly.Value {
		tier := func(path string, set bool) {
			if set {
				r.fail(r.lines[path], path, "state.hot_only in line %d leaves no tiers: bound the memory by state.max_size_mb", s.HotOnly.Line)
			}
		}
		tier("state.hot.max_size_mb", s.HotMaxSize.IsSet)
		tier("state.warm.backend", s.WarmBackend.IsSet)
		tier("state.warm.cache_size_mb", s.WarmCacheSize.IsSet)
		tier("state.warm.ttl", s.WarmTTL.IsSet)
		tier("state.cold.backend", s.Cold.Backend.IsSet)
	} else if s.MaxSize.IsSet {
		r.fail(s.MaxSize.Line, "state.max_size_mb", "is for state.hot_only: true; else bound the hot tier by state.hot.max_size_mb")
	}

	cold := &s.Cold
	for path, set := range map[string]bool{
		"retention_days": cold.RetentionDays.IsSet, "url": cold.URL.IsSet, "url_file": cold.URLFile.IsSet,
		"password_file": cold.PasswordFile.IsSet, "schema": cold.Schema.IsSet, "backlog_mb": cold.Backlog.IsSet,
	} {
		pair("state.cold."+path, set, "state.cold.backend", cold.Backend.IsSet)
	}
	if cold.URL.IsSet && cold.URLFile.IsSet {
		r.fail(cold.URLFile.Line, "state.cold.url_file", "state.cold.url in line %d names the database too: leave one of them out", cold.URL.Line)
	}

	t := &c.Topics
	if t.ReplicationFactor.Value > 0 && t.MinInsyncReplicas.Value > t.ReplicationFactor.Value {
		r.fail(t.MinInsyncReplicas.Line, "topics.min_insync_replicas", "%d replicas cannot be in sync of %d (topics.replication_factor)",
			t.MinInsyncReplicas.Value, t.ReplicationFactor.Value)
	}
}

// suggestion returns "; did you mean x?" for the key that is written most like
// the unknown one, or else all that there are.
func suggestion(unknown string, known []string) string {
	best, distance := "", 1+len(unknown)/3
	for _, k := range known {
		if d := editDistance(strings.ToLower(unknown), k); d <= distance && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %s?", best)
	case len(known) == 0:
		return "; there are none here"
	}
	return "; there are " + strings.Join(known, ", ")
}

// editDistance counts the letters to insert, delete or replace (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	a = clip(a)
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
