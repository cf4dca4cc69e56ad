package bench

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
)

// Names of the contenders.
const (
	Millrace     = "millrace"
	KafkaStreams = "kafka-streams"
	Raw          = "raw floor"
	Plain        = "plain floor"
)

//go:embed kafkastreams/pom.xml kafkastreams/*.java
var kafkaStreams embed.FS

// Settings are what the contenders are given.
type Settings struct {
	Brokers string
	Workers int
	// Memory is Millrace's budget, Cache the bytes of Kafka Streams' record cache,
	// and JVM are flags of its JVM beside the heap's.
	Memory string
	Cache  int64
	JVM    []string
}

// field is the place where contenders run: their programs, and a folder.
type field struct {
	Settings
	dir    string
	client *kafka.Client
	// millrace, floor and java are commands, classpath is Java's.
	millrace, floor, java string
	classpath             string
}

// build makes the contenders' programs in a folder.
func build(ctx context.Context, s Settings, client *kafka.Client, dir string) (*field, error) {
	f := &field{Settings: s, dir: dir, client: client}
	if err := f.buildPrograms(ctx); err != nil {
		return nil, err
	}
	return f, f.buildKafkaStreams(ctx)
}

// buildPrograms makes the command and the floors.
func (f *field) buildPrograms(ctx context.Context) error {
	f.millrace, f.floor = filepath.Join(f.dir, "millrace"), filepath.Join(f.dir, "bench")
	for path, pkg := range map[string]string{f.millrace: "cmd/millrace", f.floor: "integration/bench/cmd/bench"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/millrace/millrace/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
		if _, err := output(cmd); err != nil {
			return err
		}
	}
	return nil
}

// buildKafkaStreams makes the Java contender.
func (f *field) buildKafkaStreams(ctx context.Context) (err error) {
	if f.java, err = servers.JDKTool("java"); err != nil {
		return err
	}
	f.classpath, err = compileKafkaStreams(ctx, f.dir)
	return err
}

// compileKafkaStreams compiles the Java contender into a folder, and returns its
// class path.
func compileKafkaStreams(ctx context.Context, dir string) (string, error) {
	project, err := fs.Sub(kafkaStreams, "kafkastreams")
	if err != nil {
		return "", err
	}
	return servers.CompileJava(ctx, "kafka-streams", project, dir)
}

// output runs a command and returns what it prints. The error has its standard
// error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("bench: %s: %w: %s", filepath.Base(cmd.Path), err, tail(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// tail returns the end of a program's output.
func tail(text []byte) []byte {
	const most = 4000
	return text[max(0, len(text)-most):]
}

// entry is one run of one contender over a topic.
type entry struct {
	Work
	contender string
	input     string
	// application names what the run leaves behind.
	application string
	// restore: the application has run, and its local state is gone.
	restore bool
	// live: the contender goes on behind the input's end, until it is told to stop.
	live bool
}

func (e entry) output() string { return e.application + "-results" }

// command returns the command of an entry.
func (f *field) command(ctx context.Context, e entry) *exec.Cmd {
	workers, state := strconv.Itoa(f.Workers), filepath.Join(f.dir, "state")
	switch e.contender {
	case Millrace:
		args := []string{
			"bench", "--brokers", f.Brokers, "--input", e.input, "--output", e.output(), "--application", e.application,
			"--state", state, "--workers", workers, "--commit", strconv.FormatInt(e.CommitMS, 10) + "ms", "--memory", f.Memory,
			"--shape", string(e.Shape), "--guarantee", string(e.Guarantee),
		}
		if e.restore {
			args = append(args, "--restore")
		}
		if e.live {
			args = append(args, "--until-end=false")
		}
		return exec.CommandContext(ctx, f.millrace, args...)
	case KafkaStreams:
		args := append([]string{"-Xmx" + e.Heap}, f.JVM...)
		args = append(args, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f.classpath, "Bench", f.Brokers, e.input, e.output(),
			e.application, filepath.Join(state, "kafka-streams"), workers, strconv.FormatInt(e.CommitMS, 10), strconv.FormatInt(f.Cache, 10), string(e.Guarantee), string(e.Shape))
		if e.live {
			args = append(args, "live")
		}
		return exec.CommandContext(ctx, f.java, args...)
	}
	return exec.CommandContext(ctx, f.floor, "floor", "-brokers", f.Brokers, "-topic", e.input, "-workers", workers, "-kind", e.contender,
		"-shape", string(e.Shape), "-results", f.floorResults())
}

func (f *field) floorResults() string { return filepath.Join(f.dir, "floor-results") }

// run runs an entry and returns its report, and its results unless it restores.
func (f *field) run(ctx context.Context, e entry) (Report, outcome, error) {
	durable := e.contender == Millrace || e.contender == KafkaStreams
	if durable && !e.restore {
		if err := f.createOutput(ctx, e); err != nil {
			return Report{}, nil, err
		}
	}
	if e.restore {
		if err := os.RemoveAll(filepath.Join(f.dir, "state", "kafka-streams", e.application)); err != nil {
			return Report{}, nil, err
		}
	}
	printed, err := output(f.command(ctx, e))
	if err != nil {
		return Report{}, nil, fmt.Errorf("%s: %w", e.contender, err)
	}
	report, err := parseReport(printed)
	if err != nil || e.restore {
		return report, nil, err
	}
	report.Contender = e.contender
	if !durable {
		o, err := readOutcome(f.floorResults())
		return report, o, err
	}
	o, err := readTopic(ctx, f.client, e.output())
	return report, o, err
}

// createOutput makes the topic that an entry writes to, of as many partitions as
// its input has.
func (f *field) createOutput(ctx context.Context, e entry) error {
	n, err := f.client.Partitions(ctx, e.input)
	if err != nil {
		return err
	}
	_, err = f.client.CreateTopic(ctx, kafka.TopicSpec{Name: e.output(), Partitions: n, Replication: -1, Configs: keepForever()})
	return err
}

// clear removes the topics and the local state of an entry.
func (f *field) clear(ctx context.Context, e entry) error {
	var errs []error
	for _, topic := range []string{e.output(), e.application + "-stats-changelog", e.application + "-source-meta-changelog"} {
		if err := f.client.DeleteTopic(ctx, topic); err != nil && !errors.Is(err, kafka.ErrUnknownTopic) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs,
		os.RemoveAll(filepath.Join(f.dir, "state", e.application)),
		os.RemoveAll(filepath.Join(f.dir, "state", "kafka-streams", e.application)))...)
}

// keepForever are the settings of a topic whose events may be old.
func keepForever() map[string]string { return map[string]string{"retention.ms": "-1"} }

// withDefaults fills in what is not set.
func (s Settings) withDefaults() Settings {
	s.Workers = cmp.Or(s.Workers, 2)
	s.Memory = cmp.Or(s.Memory, "512MiB")
	s.Cache = cmp.Or(s.Cache, 64<<20)
	return s
}

// Floor runs one of the floors, reports what it took, and writes its results to
// a file.
func Floor(name, broker, topic string, shape llm.Shape, workers int, results string) (Report, error) {
	run := RawFloor
	if name == Plain {
		run = PlainFloor
	}
	report, sums, err := MeasureFloor(name, func() (map[int32]totals, error) { return run(broker, topic, shape, workers) })
	if err != nil {
		return Report{}, err
	}
	return report, writeOutcome(results, sums)
}
