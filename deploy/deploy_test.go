package deploy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/millrace/millrace/internal/config"
)

// The state folder and the port that all files agree on.
const (
	stateDir = "/var/lib/millrace"
	port     = "8080"
	user     = "65532"
)

// usage is what the command prints for --help, as a test of its own compares
// with the command.
const usage = "../cmd/millrace/testdata/usage"

// commands returns the flags of each command.
func commands(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(usage)
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string][]string{}
	command := ""
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		switch {
		case len(words) > 2 && words[0] == "millrace" && words[2] == "-":
			command = words[1]
		case strings.HasPrefix(line, "exit "):
			command = ""
		case command != "" && len(words) > 1 && strings.HasPrefix(words[0], "--"):
			flags[command] = append(flags[command], strings.TrimRight(strings.TrimPrefix(words[0], "--"), ","))
		}
	}
	if len(flags["run"]) < 10 {
		t.Fatalf("%s has the flags %q of run", usage, flags["run"])
	}
	return flags
}

// object is a YAML mapping.
type object = map[string]any

// documents reads all documents of a YAML file.
func documents(t *testing.T, name string) []object {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var docs []object
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var d object
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		docs = append(docs, d)
	}
}

// at follows a path of mapping keys and list indexes, and fails the test where
// it leads nowhere.
func at[T any](t *testing.T, from any, path ...any) T {
	t.Helper()
	for i, step := range path {
		var next any
		switch s := step.(type) {
		case string:
			m, _ := from.(object)
			next = m[s]
		case int:
			if l, _ := from.([]any); s < len(l) {
				next = l[s]
			}
		}
		if next == nil {
			t.Fatalf("nothing at %v of %v", step, path[:i+1])
		}
		from = next
	}
	v, ok := from.(T)
	if !ok {
		t.Fatalf("at %v stands %v (%T), want %T", path, from, from, v)
	}
	return v
}

// words turns a list of scalars into strings.
func words(list []any) []string {
	var w []string
	for _, v := range list {
		s, _ := v.(string)
		w = append(w, s)
	}
	return w
}

// checkCommand fails the test for a command or flag that millrace lacks.
func checkCommand(t *testing.T, args []string) {
	t.Helper()
	known, ok := commands(t)[args[0]]
	if !ok {
		t.Errorf("there is no command %q with flags", args[0])
	}
	for _, arg := range args[1:] {
		name, isFlag := strings.CutPrefix(arg, "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && !slices.Contains(known, name) {
			t.Errorf("%s has no flag --%s", args[0], name)
		}
	}
}

// checkVariable fails the test for a variable that stands for no flag of run.
func checkVariable(t *testing.T, name string) {
	t.Helper()
	flag, ours := strings.CutPrefix(name, "MILLRACE_")
	if ours && !slices.Contains(commands(t)["run"], strings.ToLower(strings.ReplaceAll(flag, "_", "-"))) {
		t.Errorf("the variable %s stands for no flag of run", name)
	}
}

// checkConfig fails the test if a configuration does not listen and keep its
// state where the file around it says.
func checkConfig(t *testing.T, text string) {
	t.Helper()
	c, err := config.Parse("the configuration", []byte(text), config.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !c.Application.IsSet || !c.Brokers.IsSet {
		t.Errorf("the configuration names no application or no broker:\n%s", text)
	}
	if c.HTTP.Listen.Value != "0.0.0.0:"+port {
		t.Errorf("http.listen is %v, want all addresses at port %s", c.HTTP.Listen, port)
	}
	if c.State.Dir.Value != stateDir {
		t.Errorf("state.dir is %v, want the volume %s", c.State.Dir, stateDir)
	}
}

func TestCompose(t *testing.T) {
	docs := documents(t, "compose.yaml")
	if len(docs) != 1 {
		t.Fatalf("%d documents, want 1", len(docs))
	}
	c := docs[0]
	checkConfig(t, at[string](t, c, "configs", "millrace", "content"))
	for service := range at[object](t, c, "services") {
		if strings.HasPrefix(service, "millrace-") || service == "topics" || service == "replay" {
			checkCommand(t, words(at[[]any](t, c, "services", service, "command")))
		}
		for variable := range environment(c, service) {
			checkVariable(t, variable)
		}
		for on := range dependencies(c, service) {
			at[object](t, c, "services", on)
		}
	}
	for _, name := range []string{"millrace-1", "millrace-2"} {
		s := at[object](t, c, "services", name)
		if got, want := at[string](t, s, "environment", "MILLRACE_ADVERTISE"), "http://"+name+":"+port; got != want {
			t.Errorf("%s advertises %q, want %q", name, got, want)
		}
		if p := at[string](t, s, "ports", 0); !strings.HasSuffix(p, ":"+port) {
			t.Errorf("%s publishes %q, want port %s of the container", name, p, port)
		}
		volume, target, _ := strings.Cut(at[string](t, s, "volumes", 0), ":")
		if target != stateDir {
			t.Errorf("%s mounts its volume at %q, want %q", name, target, stateDir)
		}
		if _, ok := at[object](t, c, "volumes")[volume]; !ok {
			t.Errorf("%s uses the volume %q, which is not declared", name, volume)
		}
	}
	one, two := at[string](t, c, "services", "millrace-1", "volumes", 0), at[string](t, c, "services", "millrace-2", "volumes", 0)
	if one == two {
		t.Errorf("both instances keep their state in %q: a state folder has one owner", one)
	}
}

// dependencies returns what a service of a compose file depends on.
func dependencies(c object, service string) object {
	services, _ := c["services"].(object)
	s, _ := services[service].(object)
	on, _ := s["depends_on"].(object)
	return on
}

// environment returns the variables of a service of a compose file.
func environment(c object, service string) object {
	services, _ := c["services"].(object)
	s, _ := services[service].(object)
	vars, _ := s["environment"].(object)
	return vars
}

func TestPrometheusScrapesTheInstancesOfCompose(t *testing.T) {
	p, c := documents(t, "prometheus.yaml")[0], documents(t, "compose.yaml")[0]
	job := at[object](t, p, "scrape_configs", 0)
	if got := at[string](t, job, "metrics_path"); got != "/metrics" {
		t.Errorf("it scrapes %q, want /metrics", got)
	}
	var want []string
	for name := range at[object](t, c, "services") {
		if strings.HasPrefix(name, "millrace-") {
			want = append(want, name+":"+port)
		}
	}
	slices.Sort(want)
	if got := words(at[[]any](t, job, "static_configs", 0, "targets")); !slices.Equal(got, want) {
		t.Errorf("it scrapes %q, want %q", got, want)
	}
	file := at[string](t, c, "configs", "prometheus", "file")
	if _, err := os.Stat(file); err != nil {
		t.Errorf("compose.yaml mounts a file that is not there: %v", err)
	}
}

func TestKubernetes(t *testing.T) {
	kinds := map[string]object{}
	for _, d := range documents(t, "kubernetes.yaml") {
		kinds[at[string](t, d, "kind")+"/"+at[string](t, d, "metadata", "name")] = d
	}
	const name = "millrace"
	set, service := kinds["StatefulSet/"+name], kinds["Service/"+name]
	checkConfig(t, at[string](t, kinds["ConfigMap/"+name], "data", "config.yaml"))
	if got := at[string](t, set, "spec", "serviceName"); got != name {
		t.Errorf("the StatefulSet's service is %q, want %q", got, name)
	}
	if got := at[string](t, service, "spec", "clusterIP"); got != "None" {
		t.Errorf("clusterIP is %q: instances need names of their own, so a headless service", got)
	}

	pod := at[object](t, set, "spec", "template", "spec")
	if got := at[int](t, pod, "terminationGracePeriodSeconds"); got < 10 {
		t.Errorf("%d s to stop: a clean stop takes up to 5", got)
	}
	if !at[bool](t, pod, "securityContext", "runAsNonRoot") {
		t.Error("it may run as root")
	}
	container := at[object](t, pod, "containers", 0)
	args := words(at[[]any](t, container, "args"))
	checkCommand(t, args)
	if !slices.Contains(args, "--advertise=http://$(POD_NAME)."+name+":"+port) {
		t.Errorf("args %q: want each instance to advertise its own name in the headless service", args)
	}
	if got := at[string](t, container, "env", 0, "name"); got != "POD_NAME" {
		t.Errorf("the first variable is %q, want POD_NAME, which the arguments use", got)
	}
	if got := at[int](t, container, "ports", 0, "containerPort"); got != 8080 {
		t.Errorf("containerPort %d, want %s", got, port)
	}
	for probe, path := range map[string]string{"readinessProbe": "/readyz", "livenessProbe": "/healthz"} {
		if got := at[string](t, container, probe, "httpGet", "path"); got != path {
			t.Errorf("%s asks %q, want %q", probe, got, path)
		}
		if got, want := at[string](t, container, probe, "httpGet", "port"), at[string](t, container, "ports", 0, "name"); got != want {
			t.Errorf("%s asks port %q, want %q", probe, got, want)
		}
	}
	checkMounts(t, set, pod, container)

	app := at[string](t, set, "spec", "template", "metadata", "labels", "app.kubernetes.io/name")
	for kind, path := range map[string][]any{
		"StatefulSet/" + name:         {"spec", "selector", "matchLabels", "app.kubernetes.io/name"},
		"PodDisruptionBudget/" + name: {"spec", "selector", "matchLabels", "app.kubernetes.io/name"},
		"Service/" + name:             {"spec", "selector", "app.kubernetes.io/name"},
		"Service/millrace-query":      {"spec", "selector", "app.kubernetes.io/name"},
	} {
		if got := at[string](t, kinds[kind], path...); got != app {
			t.Errorf("%s selects %q, want %q", kind, got, app)
		}
	}
}

// checkMounts fails the test for a mount without a volume, and unless the state
// lies on a volume of each instance's own.
func checkMounts(t *testing.T, set, pod, container object) {
	t.Helper()
	claim := at[string](t, set, "spec", "volumeClaimTemplates", 0, "metadata", "name")
	volumes := []string{claim}
	for i := range at[[]any](t, pod, "volumes") {
		volumes = append(volumes, at[string](t, pod, "volumes", i, "name"))
	}
	places := map[string]string{}
	for i := range at[[]any](t, container, "volumeMounts") {
		volume := at[string](t, container, "volumeMounts", i, "name")
		places[at[string](t, container, "volumeMounts", i, "mountPath")] = volume
		if !slices.Contains(volumes, volume) {
			t.Errorf("it mounts the volume %q, which is not there", volume)
		}
	}
	if places[stateDir] != claim {
		t.Errorf("%s is on the volume %q, want %q, which each instance has of its own", stateDir, places[stateDir], claim)
	}
}

func TestDockerfile(t *testing.T) {
	b, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	last := 0 // where the last stage begins
	for i, line := range lines {
		if strings.HasPrefix(line, "FROM ") {
			last = i
		}
	}
	if lines[last] != "FROM scratch" {
		t.Errorf("the last stage is %q, want FROM scratch", lines[last])
	}
	if !strings.Contains(strings.Join(lines[:last], "\n"), "RUN CGO_ENABLED=0 go build") {
		t.Error("the build stage does not build without cgo: the program would lack its libc")
	}
	for _, want := range []string{
		"USER " + user + ":" + user,
		"EXPOSE " + port,
		"VOLUME " + stateDir,
		"ENV MILLRACE_STATE=" + stateDir,
		`ENTRYPOINT ["/millrace"]`,
	} {
		if !slices.Contains(lines[last:], want) {
			t.Errorf("the last stage has no line %q", want)
		}
	}
	for _, line := range lines {
		if set, ok := strings.CutPrefix(line, "ENV "); ok {
			name, _, _ := strings.Cut(set, "=")
			checkVariable(t, name)
		}
		if words := strings.Fields(strings.TrimLeft(line, "# ")); len(words) > 2 && words[0] == "docker" && words[1] == "run" {
			checkCommand(t, words[slices.Index(words, "millrace")+1:])
		}
	}
	for _, line := range lines[last:] {
		// What a scratch image runs, its build cannot.
		if strings.HasPrefix(line, "RUN ") {
			t.Errorf("%q cannot run: the last stage has no shell", line)
		}
	}
}

func TestDockerfileAndKubernetesAgreeOnTheUser(t *testing.T) {
	for _, d := range documents(t, "kubernetes.yaml") {
		if d["kind"] != "StatefulSet" {
			continue
		}
		for _, id := range []string{"runAsUser", "runAsGroup", "fsGroup"} {
			if got := at[int](t, d, "spec", "template", "spec", "securityContext", id); got != 65532 {
				t.Errorf("%s is %d, want %s", id, got, user)
			}
		}
		return
	}
	t.Error("no StatefulSet")
}
