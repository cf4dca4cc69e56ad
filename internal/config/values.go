package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// The functions of this file turn a scalar into a value, or say what is wrong.

func text(n *yaml.Node) (string, string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "" {
		return "", "want a text, found " + found(n)
	}
	return n.Value, ""
}

// found describes a node in an error.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a group of keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	default:
		return strconv.Quote(clip(n.Value))
	}
}

// clip shortens what an error repeats.
func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "..."
	}
	return s
}

func oneOf(allowed ...string) func(*yaml.Node) (string, string) {
	return func(n *yaml.Node) (string, string) {
		if n.Kind == yaml.ScalarNode && slices.Contains(allowed, n.Value) {
			return n.Value, ""
		}
		return "", fmt.Sprintf("want %s, found %s", orList(allowed), found(n))
	}
}

func orList(words []string) string {
	if last := len(words) - 1; last > 0 {
		return strings.Join(words[:last], ", ") + " or " + words[last]
	}
	return words[0]
}

func warmBackend(n *yaml.Node) (string, string) {
	if n.Kind == yaml.ScalarNode && n.Value == "sled" {
		return "", "sled is not in this program: write pebble, which takes its place"
	}
	return oneOf("pebble")(n)
}

// postgresURL refuses a URL with a password in it.
func postgresURL(n *yaml.Node) (string, string) {
	t, problem := text(n)
	if problem != "" {
		return "", problem
	}
	u, err := url.Parse(t)
	switch {
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "":
		return "", "want the URL of a database, such as postgres://millrace@db.example:5432/metrics"
	case u.Query().Has("password"):
		return "", noColdPassword
	}
	if _, ok := u.User.Password(); ok {
		return "", noColdPassword
	}
	return t, ""
}

func boolean(n *yaml.Node) (bool, string) {
	if n.Kind == yaml.ScalarNode && (n.Value == "true" || n.Value == "false") {
		return n.Value == "true", ""
	}
	return false, "want true or false, found " + found(n)
}

func integer(low, high int) func(*yaml.Node) (int, string) {
	return func(n *yaml.Node) (int, string) {
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v < low || v > high {
			return 0, fmt.Sprintf("want a whole number from %d to %d, found %s", low, high, found(n))
		}
		return v, ""
	}
}

func replication(n *yaml.Node) (int, string) {
	if n.Value == "-1" {
		return -1, ""
	}
	v, problem := integer(1, 32767)(n)
	if problem != "" {
		problem = strings.Replace(problem, "want", "want -1 (the broker's default) or", 1)
	}
	return v, problem
}

// megabytes reads a number of MiB, as the names with _mb have it.
func megabytes(n *yaml.Node) (int64, string) {
	v, problem := integer(1, 1<<24)(n)
	if problem != "" {
		problem = strings.Replace(problem, "number", "number of MiB", 1)
	}
	return int64(v) << 20, problem
}

const minMemory = 64 << 20

func memory(n *yaml.Node) (int64, string) {
	if n.Kind != yaml.ScalarNode {
		return 0, "want a size like 512MiB, found " + found(n)
	}
	v, err := ParseSize(n.Value)
	if err != nil {
		return 0, err.Error()
	}
	if v < minMemory {
		return 0, "want at least 64MiB, found " + found(n)
	}
	return v, ""
}

// ParseSize reads a size in bytes: a number with at most a fraction, and a unit:
// B, KB, MB, GB, TB (powers of 1,000) or KiB, MiB, GiB, TiB (powers of 1,024).
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("want a size like 512MiB or 4GB, found %q", clip(s))
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end <= 0 {
		return 0, bad
	}
	number, err := strconv.ParseFloat(s[:end], 64)
	factor, ok := map[string]float64{
		"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[strings.TrimLeft(s[end:], " ")]
	if err != nil || !ok || number*factor >= math.MaxInt64 {
		return 0, bad
	}
	return int64(number * factor), nil
}

// duration reads a span of whole milliseconds within bounds.
func duration(n *yaml.Node, low, high time.Duration) (time.Duration, string) {
	d, err := time.ParseDuration(n.Value)
	switch {
	case n.Kind != yaml.ScalarNode || err != nil:
		return 0, "want a duration like 120s, found " + found(n)
	case d%time.Millisecond != 0:
		return 0, "want whole milliseconds, found " + found(n)
	case d < low || d > high:
		return 0, fmt.Sprintf("want %s to %s, found %s", short(low), short(high), found(n))
	}
	return d, ""
}

const year = 365 * 24 * time.Hour

func millis(n *yaml.Node) (time.Duration, string) { return duration(n, 0, year) }

func positiveMillis(n *yaml.Node) (time.Duration, string) {
	return duration(n, time.Millisecond, year)
}

func commitInterval(n *yaml.Node) (time.Duration, string) {
	return duration(n, time.Millisecond, 10*time.Minute)
}

func sessionTimeout(n *yaml.Node) (time.Duration, string) {
	return duration(n, time.Second, 30*time.Minute)
}

func probingInterval(n *yaml.Node) (time.Duration, string) {
	return duration(n, 10*time.Millisecond, time.Hour)
}

// warmups reads a number of warm-ups, or -1 for none.
func warmups(n *yaml.Node) (int, string) {
	if n.Value == "-1" {
		return -1, ""
	}
	v, problem := integer(1, 1024)(n)
	if problem != "" {
		problem = strings.Replace(problem, "want", "want -1 (move without) or", 1)
	}
	return v, problem
}

// short writes a duration without the units that are zero.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// topicName reads what Kafka takes as a topic's name.
func topicName(n *yaml.Node) (string, string) {
	s, problem := text(n)
	if problem != "" {
		return "", problem
	}
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	if len(s) > 200 || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return !legal(r) }) {
		return "", "want at most 200 letters, digits, '.', '_' or '-', found " + found(n)
	}
	return s, ""
}

// brokers reads a list of host:port, or one text with commas between them.
func brokers(n *yaml.Node) ([]string, string) {
	var all []string
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			s, problem := text(item)
			if problem != "" {
				return nil, "want host:port, found " + found(item)
			}
			all = append(all, s)
		}
	case yaml.ScalarNode:
		all = strings.Split(n.Value, ",")
	default:
		return nil, "want a list of host:port, found " + found(n)
	}
	if len(all) == 0 {
		return nil, "want a list of host:port, found an empty one"
	}
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
		if !isHostPort(all[i], false) {
			return nil, fmt.Sprintf("want host:port, found %q", clip(all[i]))
		}
	}
	return all, ""
}

// texts reads a list of texts that are not empty.
func texts(n *yaml.Node) ([]string, string) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return nil, "want a list of texts, found " + found(n)
	}
	var all []string
	for _, item := range n.Content {
		s, problem := text(item)
		if problem != "" {
			return nil, problem
		}
		all = append(all, s)
	}
	return all, ""
}

// redisURL reads the URL of a Redis without a password.
func redisURL(n *yaml.Node) (string, string) {
	u, err := url.Parse(n.Value)
	if err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return "", noRedisPassword
		}
	}
	if n.Kind != yaml.ScalarNode || err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.RawQuery != "" {
		// What is wrong is not shown: a part of it may be a password.
		return "", "want a URL like redis://host:6379/0, or rediss://host:6379/0 for TLS"
	}
	return n.Value, ""
}

func hostPort(n *yaml.Node) (string, string) {
	if n.Kind != yaml.ScalarNode || !isHostPort(n.Value, true) {
		return "", "want host:port, or :port for all addresses, found " + found(n)
	}
	return n.Value, ""
}

func isHostPort(s string, hostOptional bool) bool {
	host, port, err := net.SplitHostPort(s)
	p, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil && (hostOptional || host != "" && p > 0) && !strings.ContainsAny(host, " /@")
}

func httpURL(n *yaml.Node) (string, string) {
	u, err := url.Parse(n.Value)
	if err == nil && u.User != nil {
		return "", "want a URL without user and password"
	}
	if n.Kind != yaml.ScalarNode || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", "want a URL like http://host:8080, found " + found(n)
	}
	return n.Value, ""
}
