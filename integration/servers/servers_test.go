package servers

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPomNamesTheVersionOfTheCacheFolder(t *testing.T) {
	if want := "<version>" + KafkaVersion + "</version>"; !strings.Contains(string(pom), want) {
		t.Errorf("pom.xml lacks %s: change KafkaVersion with it", want)
	}
}

func TestJavaMajor(t *testing.T) {
	for printed, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`: 17,
		`java version "1.8.0_392"`:             8,
		`openjdk version "25" 2025-09-16`:      25,
	} {
		if got, err := javaMajor(printed); err != nil || got != want {
			t.Errorf("javaMajor(%q) = %d, %v; want %d", printed, got, err, want)
		}
	}
	if _, err := javaMajor("command not found"); err == nil {
		t.Error("no error for a text without a version")
	}
}

func TestMissingToolsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	t.Setenv("MILLRACE_CACHE", t.TempDir())
	if _, err := javaPath(t.Context()); !errors.Is(err, ErrSetup) || !strings.Contains(err.Error(), "openjdk-17") {
		t.Errorf("without java: %v", err)
	}
	if _, err := KafkaJars(t.Context()); !errors.Is(err, ErrSetup) || !strings.Contains(err.Error(), "Maven") {
		t.Errorf("without mvn: %v", err)
	}
}

func TestFreePortsAreDifferentAndBelowOutgoingOnes(t *testing.T) {
	ports, err := FreePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if n := len(slices.Compact(ports)); n != 20 {
		t.Errorf("%d different ports, want 20", n)
	}
	for _, p := range ports {
		if p < firstPort || p >= lastPort {
			t.Errorf("port %d is outside %d to %d", p, firstPort, lastPort)
		}
	}
}

func TestPropertiesOfAClusterAndOverrides(t *testing.T) {
	nodes := []*node{
		{id: 1, broker: "127.0.0.1:20001", controller: "127.0.0.1:20002", dir: "/d/node-1"},
		{id: 2, broker: "127.0.0.1:20003", controller: "127.0.0.1:20004", dir: "/d/node-2", listeners: []listener{
			{name: "SLOW", addr: "127.0.0.1:20007", advertised: "127.0.0.1:20008"},
		}},
		{id: 3, broker: "127.0.0.1:20005", controller: "127.0.0.1:20006", dir: "/d/node-3"},
	}
	got := properties(2, nodes, map[string]string{"num.partitions": "7", "offsets.topic.num.partitions": "1"})
	for _, line := range []string{
		"node.id=2",
		"controller.quorum.voters=1@127.0.0.1:20002,2@127.0.0.1:20004,3@127.0.0.1:20006",
		"listeners=BROKER://127.0.0.1:20003,SLOW://127.0.0.1:20007,CONTROLLER://127.0.0.1:20004",
		"advertised.listeners=BROKER://127.0.0.1:20003,SLOW://127.0.0.1:20008",
		"listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SLOW:PLAINTEXT",
		"log.dirs=/d/node-2/data",
		"default.replication.factor=3",
		"transaction.state.log.min.isr=2",
		"num.partitions=7",
		"offsets.topic.num.partitions=1",
	} {
		if !slices.Contains(strings.Split(got, "\n"), line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

func TestBrokerIDs(t *testing.T) {
	answer := []byte{0, 0, 0, 1 /* throttle */, 0, 0, 0, 0 /* brokers */, 0, 0, 0, 2}
	for _, id := range []uint32{3, 1} {
		answer = binary.BigEndian.AppendUint32(answer, id)
		answer = append(answer, 0, 4, 'h', 'o', 's', 't', 0, 0, 0x4e, 0x21, 0xff, 0xff /* no rack */)
	}
	whole := len(answer)
	answer = append(answer, "the rest is not read"...)
	ids, err := brokerIDs(answer)
	if err != nil || !slices.Equal(ids, []int{1, 3}) {
		t.Errorf("brokerIDs = %v, %v; want [1 3]", ids, err)
	}
	for n := range whole {
		if _, err := brokerIDs(answer[:n]); !errors.Is(err, errShort) {
			t.Fatalf("an answer cut to %d of %d bytes: %v, want %v", n, whole, err, errShort)
		}
	}
}

func TestTailCutsLinesInNumberAndLength(t *testing.T) {
	long := strings.Repeat("x", maxLine+1)
	if got, want := tail([]byte("one\ntwo\n"+long+"\n"), 2), "two\n"+long[:maxLine]+"…"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}

func TestConnectNamesTheVariable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := connect(t.Context(), addr); err == nil || !strings.Contains(err.Error(), EnvKafka) {
		t.Errorf("connect to a closed port: %v", err)
	}
}

// TestChild is no test of its own: it is the process that the tests below
// TestMain also is the process that child starts: it runs until its standard
// input ends.
func TestMain(m *testing.M) {
	if os.Getenv("SERVERS_TEST_CHILD") != "" {
		var b [1]byte
		os.Stdout.Write(b[:])
		os.Stdin.Read(b[:])
		os.Exit(0)
	}
	os.Exit(Main(m))
}

// child starts this test binary as a process that works in dir, and never ends
// by itself before the test does.
func child(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), "SERVERS_TEST_CHILD=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(cmd, false)
	if err != nil {
		t.Fatal(err)
	}
	// A process has no command line until its program runs.
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		<-p.done
	})
	return p
}

func TestProcessIDIsTakenOnlyForOurProcess(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "node-1"), filepath.Join(t.TempDir(), "node-1")
	for _, d := range []string{dir, other} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := child(t, dir)
	for _, d := range []string{dir, other} {
		if err := writePID(d, p.pid); err != nil {
			t.Fatal(err)
		}
	}
	if pid, err := readPID(dir); err != nil || pid != p.pid {
		t.Errorf("of its own folder: %d, %v; want %d", pid, err, p.pid)
	}
	if pid, err := readPID(other); err != nil || pid != 0 {
		t.Errorf("of a folder that is not on its command line: %d, %v; want 0", pid, err)
	}
	p.kill()
	if pid, err := readPID(dir); err != nil || pid != 0 {
		t.Errorf("after its end: %d, %v; want 0", pid, err)
	}
}

func TestStopDetachedEndsProcessesAndRemovesFolders(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "node-1")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	p := child(t, folder)
	if err := writePID(folder, p.pid); err != nil {
		t.Fatal(err)
	}
	n, err := StopDetached(dir)
	if err != nil || n != 1 {
		t.Fatalf("StopDetached = %d, %v; want 1", n, err)
	}
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		t.Error("the process still runs")
	}
	if isDir(folder) {
		t.Error("the node's folder is still there")
	}
	if n, err := StopDetached(dir); err != nil || n != 0 {
		t.Errorf("the second time: %d, %v; want 0", n, err)
	}
}
