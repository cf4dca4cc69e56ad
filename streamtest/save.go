package streamtest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
)

// savedFile is the file of a saved run that has everything but the disks, each of
// which is a folder beside it.
const savedFile = "run.json"

// savedRun is what outlives the processes of a run.
type savedRun struct {
	Application string            `json:"application"`
	Clock       time.Time         `json:"clock"`
	Generation  int32             `json:"generation"`
	Written     int               `json:"written"`
	Instances   int               `json:"instances"`
	Topics      []savedTopic      `json:"topics"`
	Offsets     []task.Offset     `json:"offsets"`
	Changelogs  *changelog.Memory `json:"changelogs"`
}

type savedTopic struct {
	Name       string        `json:"name"`
	Partitions int           `json:"partitions"`
	Records    []savedRecord `json:"records,omitempty"`
}

type savedRecord struct {
	Partition int32             `json:"partition"`
	Order     int               `json:"order"`
	Time      int64             `json:"time"`
	Key       []byte            `json:"key"`
	Value     []byte            `json:"value"`
	Headers   []topology.Header `json:"headers,omitempty"`
}

// Save stops all tasks as Restart does, writes everything that outlives them to a
// new folder, and starts them again: topics, changelogs, committed offsets and,
// with [Pebble], the disks. A test that keeps such a folder in testdata can begin
// [From] it with the next version of its program. It fails if the folder is there.
func (d *Driver) Save(dir string) {
	d.helper()
	if d.err != nil {
		return
	}
	d.commit(true)
	if d.err == nil {
		d.stop(d.drop(true, d.tasks...))
	}
	if d.err != nil {
		return
	}
	if err := d.save(dir); err != nil {
		d.fail("save: %w", err)
		return
	}
	d.ending = false
	d.stop(d.start(d.tasks...))
	d.settle()
}

func (d *Driver) save(dir string) error {
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	run := savedRun{
		Application: d.cfg.application, Clock: d.now, Generation: d.generation, Written: d.written,
		Instances: len(d.instances), Changelogs: d.log,
	}
	for _, name := range slices.Sorted(maps.Keys(d.topics)) {
		run.Topics = append(run.Topics, d.topics[name].save())
	}
	run.Offsets = slices.SortedFunc(maps.Values(d.offsets), func(a, b task.Offset) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	b, err := json.MarshalIndent(run, "", " ")
	if err != nil {
		return err
	}
	errs := []error{os.WriteFile(filepath.Join(dir, savedFile), append(b, '\n'), 0o666)}
	for _, in := range d.instances {
		errs = append(errs, in.storage.save(diskOf(dir, in.number)))
	}
	return errors.Join(errs...)
}

func diskOf(dir string, instance int) string {
	return filepath.Join(dir, fmt.Sprint("disk-", instance))
}

func (t *topic) save() savedTopic {
	s := savedTopic{Name: t.name, Partitions: len(t.partitions)}
	for _, r := range t.all {
		s.Records = append(s.Records, savedRecord{r.partition, r.order, r.time, r.key, r.value, r.headers})
	}
	return s
}

// From begins where a run stood that [Driver.Save] has written to a folder, under
// its clock and with its topics. The folder stays as it is. Tasks have the disks of
// their instances if there are as many as there were, and both runs use [Pebble];
// else changelogs are all they have.
func From(dir string) Option { return func(c *config) { c.from = dir } }

// load brings back what is saved in the folder of [From]. The topics of the plan
// are made.
func (d *Driver) load() error {
	b, err := os.ReadFile(filepath.Join(d.cfg.from, savedFile))
	if err != nil {
		return fmt.Errorf("streamtest: %w", err)
	}
	run := savedRun{Changelogs: d.log}
	if err := json.Unmarshal(b, &run); err != nil {
		return fmt.Errorf("streamtest: %s: %w", d.cfg.from, err)
	}
	if run.Application != d.cfg.application {
		return fmt.Errorf("streamtest: %s is of application %q, and this one is %q", d.cfg.from, run.Application, d.cfg.application)
	}
	d.now, d.generation, d.written = run.Clock, run.Generation, run.Written
	for _, t := range run.Topics {
		if own := d.topics[t.Name]; own != nil && len(own.partitions) != t.Partitions {
			return fmt.Errorf("streamtest: topic %q has %d partitions in %s and %d here", t.Name, t.Partitions, d.cfg.from, len(own.partitions))
		}
		d.topics[t.Name] = t.load()
	}
	for _, o := range run.Offsets {
		d.offsets[place{o.Topic, o.Partition}] = o
	}
	if run.Instances != len(d.instances) {
		return nil
	}
	for _, in := range d.instances {
		if err := in.storage.load(diskOf(d.cfg.from, in.number)); err != nil {
			return fmt.Errorf("streamtest: %w", err)
		}
	}
	return nil
}

func (s savedTopic) load() *topic {
	t := newTopic(s.Name, int32(s.Partitions))
	for _, r := range s.Records {
		p := &t.partitions[r.Partition]
		own := &record{r.Partition, int64(len(*p)), r.Order, r.Time, r.Key, r.Value, r.Headers}
		*p = append(*p, own)
		t.all = append(t.all, own)
	}
	return t
}

// save writes nothing: what is in memory is gone with the engines.
func (memoryStorage) save(string) error { return nil }
func (memoryStorage) load(string) error { return nil }

func (p *pebbleStorage) save(dir string) error {
	_, err := vfs.Clone(p.fs, vfs.Default, "/", dir)
	return err
}

// load finds nothing to copy if the run that was saved had no disks.
func (p *pebbleStorage) load(dir string) error {
	_, err := vfs.Clone(vfs.Default, p.fs, dir, "/", vfs.CloneSync)
	return err
}
