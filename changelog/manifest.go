package changelog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/stores"
)

// Manifest says what one checkpoint of a task's state is: which files make the
// database, and where in the changelogs it stands. It is written last, and a
// checkpoint without one is none.
type Manifest struct {
	// Format is that of the manifest. Readers refuse a newer one than they know.
	Format      int    `json:"format"`
	Application string `json:"application"`
	// Task is the task's id, such as 0_3.
	Task string `json:"task"`
	// Created is when the checkpoint was made, by its maker's clock, in Unix
	// milliseconds.
	Created int64 `json:"created"`
	// Shape is the shape of the sub-topology that has written the state.
	Shape  json.RawMessage `json:"shape,omitempty"`
	Stores []ManifestStore `json:"stores"`
	Files  []ManifestFile  `json:"files"`
}

// ManifestStore is one store of a checkpoint and its place in its changelog.
type ManifestStore struct {
	Name   string      `json:"name"`
	Kind   stores.Kind `json:"kind"`
	Layout string      `json:"layout,omitempty"`
	Topic  string      `json:"topic"`
	// Partition and Next say which record comes next, and AppliedAt at which time,
	// in Unix milliseconds, the store was known to hold everything before it.
	Partition int32  `json:"partition"`
	Log       string `json:"log,omitempty"`
	Next      int64  `json:"next"`
	AppliedAt int64  `json:"applied_at"`
}

// Position returns where the store stands.
func (s ManifestStore) Position() Position { return Position{s.Next, s.AppliedAt, s.Log} }

// ManifestFile is a file of the database. Its content is kept under its hash.
type ManifestFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Hash string `json:"sha256"`
}

// manifestFormat is the format that this program writes.
const manifestFormat = 1

// Errors of checkpoints.
var (
	// ErrDamaged: a checkpoint is not whole, or not what was stored.
	ErrDamaged = errors.New("changelog: damaged checkpoint")

	// ErrNewer: a checkpoint was written by a newer program.
	ErrNewer = errors.New("changelog: checkpoint of a newer program")
)

// Bytes returns the size of all files.
func (m *Manifest) Bytes() (sum int64) {
	for _, f := range m.Files {
		sum += f.Size
	}
	return sum
}

// Position returns how far the checkpoint is in the changelogs altogether: of
// two checkpoints of one task that of the greater position has seen more.
func (m *Manifest) Position() (sum int64) {
	for _, s := range m.Stores {
		sum += s.Next
	}
	return sum
}

// logs tells the logs that the positions are in from others of their names.
func (m *Manifest) logs() string {
	h := sha256.New()
	for _, s := range slices.SortedFunc(slices.Values(m.Stores), func(a, b ManifestStore) int { return cmp.Compare(a.Name, b.Name) }) {
		fmt.Fprintf(h, "%q %q\n", s.Name, s.Log)
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// A manifest is a line with the sum of the rest, which is JSON.
const manifestMark = "millrace checkpoint "

func (m *Manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return append([]byte(manifestMark+hex.EncodeToString(sum[:])+"\n"), text...), nil
}

// decodeManifest reads what encode has written. The error wraps ErrDamaged or
// ErrNewer.
func decodeManifest(b []byte) (*Manifest, error) {
	line, text, ok := bytes.Cut(b, []byte("\n"))
	sum, marked := strings.CutPrefix(string(line), manifestMark)
	if want := sha256.Sum256(text); !ok || !marked || sum != hex.EncodeToString(want[:]) {
		return nil, fmt.Errorf("%w: the manifest's sum differs from its content", ErrDamaged)
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	if m.Format > manifestFormat {
		return nil, fmt.Errorf("%w: its format is %d, this program knows %d", ErrNewer, m.Format, manifestFormat)
	}
	for _, f := range m.Files {
		if f.Name == "" || strings.ContainsAny(f.Name, `/\`) || strings.HasPrefix(f.Name, ".") || f.Size < 0 || !hashRule.MatchString(f.Hash) {
			return nil, fmt.Errorf("%w: the manifest names the file %q", ErrDamaged, f.Name)
		}
	}
	return m, nil
}

var hashRule = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Checkpoint is a checkpoint as its key tells it.
type Checkpoint struct {
	Key  string
	Task string
	// Position orders the checkpoints of a task: see Manifest.Position.
	Position int64
	Created  time.Time
	// Logs tells checkpoints apart whose changelogs are others of the same names.
	Logs string
	// Modified is when the manifest was stored.
	Modified time.Time
}

// Keys are
//
//	<application>/<task>/files/<sha-256>
//	<application>/<task>/manifests/<position>-<created>-<logs>-<sum>
//
// so that of two checkpoints that are in the same logs the one that has come
// further is the newer, whoever wrote last: what a process stores that has lost
// the task hides nothing. A key is written once.
func (m *Manifest) key(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return fmt.Sprintf("%s%019d-%013d-%s-%s", manifestsOf(m.Application, m.Task), m.Position(), m.Created, m.logs(), hex.EncodeToString(sum[:4]))
}

func folderOf(application, task string) string    { return application + "/" + task + "/" }
func manifestsOf(application, task string) string { return folderOf(application, task) + "manifests/" }
func fileKey(application, task, hash string) string {
	return folderOf(application, task) + "files/" + hash
}

var manifestRule = regexp.MustCompile(`^([^/]+)/manifests/(\d{19})-(\d{13})-([0-9a-f]{8})-[0-9a-f]{8}$`)
var fileRule = regexp.MustCompile(`^[^/]+/files/([0-9a-f]{64})$`)

// parseKey reads the key of a manifest; ok is false for any other.
func parseKey(application string, b Blob) (c Checkpoint, ok bool) {
	rest, in := strings.CutPrefix(b.Key, application+"/")
	parts := manifestRule.FindStringSubmatch(rest)
	if !in || parts == nil {
		return c, false
	}
	position, err := strconv.ParseInt(parts[2], 10, 64)
	created, _ := strconv.ParseInt(parts[3], 10, 64) // 13 digits always fit
	return Checkpoint{
		Key: b.Key, Task: parts[1], Position: position, Created: time.UnixMilli(created), Logs: parts[4], Modified: b.Modified,
	}, err == nil
}

// newestFirst orders checkpoints by task, then from the one that has come
// furthest.
func newestFirst(a, b Checkpoint) int {
	return cmp.Or(cmp.Compare(a.Task, b.Task), cmp.Compare(b.Position, a.Position), b.Created.Compare(a.Created), cmp.Compare(a.Key, b.Key))
}
