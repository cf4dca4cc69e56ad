package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/stores/postgres"
	"github.com/millrace/millrace/stores/redis"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

const (
	defaultHTTP = "127.0.0.1:8080"
	mostWorkers = 1024
	// mostStandbys is how many copies of state there may be.
	mostStandbys = 15
)

// Flags of several commands.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "YAML `FILE` to read the configuration from; see docs/configuration.md"}
}

func brokersFlag() cli.Flag {
	return &cli.StringFlag{Name: "brokers", Usage: "`HOST:PORT,...` of brokers to find the cluster by"}
}

func applicationFlag() cli.Flag {
	return &cli.StringFlag{Name: "application", Value: "llm-metrics", Usage: "`NAME` of the consumer group, and prefix of the application's topics"}
}

func onErrorFlag() cli.Flag {
	return &cli.StringFlag{Name: "on-error", Value: topology.Fail.String(), Usage: "what becomes of a record that cannot be handled, `POLICY`: fail (stop), skip, or dead-letter"}
}

func stateFlag() cli.Flag {
	return &cli.StringFlag{Name: "state", Usage: "`DIR` of the local state; one for each instance on a machine", DefaultText: "millrace in the temporary folder"}
}

func sourcesFlag() cli.Flag {
	return &cli.StringFlag{Name: "sources", Usage: "`NAMES` of the sources to read, with commas: " + strings.Join(llm.SourceNames(), ", "), DefaultText: "all that the file enables"}
}

// settings are what flags, environment, file and defaults come to.
type settings struct {
	llm     llm.Config
	streams streams.Config
	// listen is where queries are answered; advertise the URL that others are
	// told, or empty to tell listen's.
	listen, advertise string
	// adminToken is what orders over HTTP must have; empty for no orders.
	adminToken config.Secret
	// checkpoints is the URL of the checkpoints; empty for none.
	checkpoints string
	// redis is where the latest results are replicated to; nil for nowhere.
	redis *redis.Config
	// named are the inputs that the file names.
	named []string
	// cold is where closed windows go; nil for nowhere.
	cold *postgres.Config
}

// settings reads the configuration of a command. The error joins every mistake.
func (p *program) settings(c *cli.Context, log *slog.Logger) (*settings, error) {
	file, err := p.file(c.String("config"))
	if err != nil {
		return nil, err
	}
	file.Application.Override(c.String("application"), c.IsSet("application"))
	file.Brokers.Override(brokersOf(c), c.IsSet("brokers"))
	file.HTTP.Listen.Override(c.String("http"), c.IsSet("http"))
	file.HTTP.Advertise.Override(c.String("advertise"), c.IsSet("advertise"))
	file.State.Dir.Override(c.String("state"), c.IsSet("state"))
	file.Guarantee.Override(c.String("guarantee"), c.IsSet("guarantee"))
	file.Workers.Override(c.Int("workers"), c.IsSet("workers"))
	file.CommitInterval.Override(c.Duration("commit"), c.IsSet("commit"))
	file.Rack.Override(c.String("rack"), c.IsSet("rack"))
	file.Group.InstanceID.Override(c.String("instance-id"), c.IsSet("instance-id"))
	file.Standby.Replicas.Override(c.Int("standbys"), c.IsSet("standbys"))
	file.OnError.Override(c.String("on-error"), c.IsSet("on-error"))
	file.Checkpointing.URL.Override(c.String("checkpoints"), c.IsSet("checkpoints"))
	var errs []error
	if c.IsSet("memory") {
		size, err := config.ParseSize(c.String("memory"))
		if err == nil && size < leastMemory {
			err = fmt.Errorf("want at least 64MiB, found %q", c.String("memory"))
		}
		if err != nil {
			errs = append(errs, usagef("--memory: %w", err))
		}
		file.Memory.Override(size, true)
	}
	errs = append(errs, checkApplication(c), checkBrokers(c))
	if c.IsSet("workers") && (c.Int("workers") < 1 || c.Int("workers") > mostWorkers) {
		errs = append(errs, usagef("--workers %d: want 1 to %d", c.Int("workers"), mostWorkers))
	}
	if c.IsSet("commit") && c.Duration("commit") < time.Millisecond {
		errs = append(errs, usagef("--commit %v: want at least 1ms", c.Duration("commit")))
	}
	if n := c.Int("standbys"); c.IsSet("standbys") && (n < 0 || n > mostStandbys) {
		errs = append(errs, usagef("--standbys %d: want 0 to %d", n, mostStandbys))
	}
	file.HTTP.Listen.Default(defaultHTTP)
	file.Guarantee.Default(config.AtLeastOnce)

	s := &settings{
		llm:       llm.FullConfig().With(file), // the application's name included
		listen:    file.HTTP.Listen.Value,
		advertise: file.HTTP.Advertise.Value,
		streams: streams.Config{
			Application: file.Application.Value, Brokers: file.Brokers.Value, StateDir: file.State.Dir.Value,
			Workers: file.Workers.Value, CommitInterval: file.CommitInterval.Value, Guarantee: streams.Guarantee(file.Guarantee.Value), Logger: log,
			ReplicationFactor: int16(file.Topics.ReplicationFactor.Value), MinInsyncReplicas: file.Topics.MinInsyncReplicas.Value,
		},
	}
	s.streams.Rack, s.streams.InstanceID = file.Rack.Value, file.Group.InstanceID.Value
	s.streams.OnStop, s.streams.SessionTimeout = streams.OnStop(file.Group.OnStop.Value), file.Group.SessionTimeout.Value
	s.streams.Standby = streams.Standby{
		Replicas: file.Standby.Replicas.Value, AcceptableLag: int64(file.Standby.AcceptableLag.Value),
		MaxWarmups: file.Standby.MaxWarmups.Value, ProbingInterval: file.Standby.ProbingInterval.Value,
	}
	for _, source := range file.Sources {
		if source.Topic.IsSet {
			s.named = append(s.named, source.Topic.Value)
		}
	}
	if c.IsSet("sources") {
		errs = append(errs, s.only(c.String("sources")))
	}
	s.streams.ProcessMemory = memoryBudget(file, p.readFile)
	s.streams.HotMemory, s.streams.CacheMemory = file.State.HotMaxSize.Value, file.State.WarmCacheSize.Value
	if file.State.HotOnly.Value {
		s.streams.Storage = streams.NewMemoryStorage()
		s.streams.HotMemory = file.State.MaxSize.Value
	}
	s.streams.Checkpoints.Interval = time.Duration(file.Checkpointing.Interval.Value) * time.Second
	s.streams.Checkpoints.Keep = file.Checkpointing.Keep.Value
	s.streams.ColdBacklog = file.State.Cold.Backlog.Value
	s.streams.ReplicaStores = file.State.Redis.Stores.Value
	errs = append(errs, p.places(s, c.Command.Name, file, log))
	s.adminToken, err = p.adminToken(file)
	errs = append(errs, err)
	if file.OffsetReset.IsSet {
		s.streams.OffsetReset, err = topology.ParseOffsetReset(file.OffsetReset.Value)
		errs = append(errs, err)
	}
	s.streams.OnError, err = onError(file.OnError.Value)
	errs = append(errs, err)
	s.streams.TLS, err = p.tls(file)
	errs = append(errs, err, checkGuarantee(file.Guarantee.Value), checkListen(s.listen), checkURL("--advertise", s.advertise))
	s.streams.SASL, err = p.sasl(file)
	return s, errors.Join(append(errs, err)...)
}

// places finds out where state is kept beside the local disk, for the commands that
// go there: the others do without what only instances are told, in their
// environment.
func (p *program) places(s *settings, command string, file *config.Config, log *slog.Logger) error {
	var errs [3]error
	if command == "run" || command == "checkpoint" {
		s.checkpoints, errs[0] = checkpointsOf(file, log)
	}
	if command == "run" {
		s.cold, errs[1] = p.cold(file, log)
		s.redis, errs[2] = p.redis(file)
	}
	return errors.Join(errs[:]...)
}

// only leaves out the sources that --sources does not name.
func (s *settings) only(text string) error {
	names := strings.Split(text, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	only, err := s.llm.Only(names...)
	if err != nil {
		return usagef("--sources: %w", err)
	}
	for _, name := range names {
		if _, ok := only.Topics()[name]; !ok {
			return usagef("--sources names %s, and the file leaves it out: sources.%[1]s.enabled is false", name)
		}
	}
	s.llm = only
	return nil
}

// topicOf returns the topic of a source.
func (s *settings) topicOf(source string) (string, error) {
	topic, ok := s.llm.Topics()[source]
	if !ok {
		return "", usagef("the file leaves %s out: sources.%[1]s.enabled is false", source)
	}
	return topic, nil
}

// file reads a configuration file; without a name nothing is set.
func (p *program) file(name string) (*config.Config, error) {
	var text []byte
	if name != "" {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return nil, usagef("--config: %w", err)
		}
	}
	return config.Parse(name, text, config.Options{Sources: llm.SourceNames()})
}

func (p *program) readFile(name string) ([]byte, error) { return os.ReadFile(name) }

// topology builds the application's topology; a mistake in it is the
// configuration's.
func (s *settings) topology() (*topology.Topology, error) {
	t, err := llm.NewTopology(s.llm)
	if err != nil {
		return nil, usageError{err}
	}
	return t, nil
}

// group returns the name of the application's group.
func (s *settings) group(t *topology.Topology) string {
	return cmp.Or(s.streams.Application, t.Application())
}

// needBrokers refuses settings without brokers.
func (s *settings) needBrokers() error {
	if len(s.streams.Brokers) == 0 {
		return usagef("no brokers are given: use --brokers HOST:PORT, MILLRACE_BROKERS, or brokers in the file of --config")
	}
	return nil
}

// kafka is what a client of the same cluster needs.
func (s *settings) kafka(log *slog.Logger) kafka.Config {
	return kafka.Config{
		Brokers: s.streams.Brokers, ClientID: "millrace", TLS: s.streams.TLS, SASL: kafka.SASL(s.streams.SASL), Dial: s.streams.Dial,
		Logger: log, RetryTimeout: time.Minute,
	}
}

// onError returns the policy of a name; of none, the default.
func onError(name string) (topology.ErrorPolicy, error) {
	for _, p := range []topology.ErrorPolicy{topology.Fail, topology.Skip, topology.DeadLetter} {
		if name == "" || name == p.String() {
			return p, nil
		}
	}
	return topology.Fail, usagef("--on-error %q: want fail, skip or dead-letter", name)
}

// checkApplication refuses a --application that no topic's name can begin with.
func checkApplication(c *cli.Context) error {
	name := c.String("application")
	if c.IsSet("application") && !topicName.MatchString(name) {
		return usagef("--application %q: want 1 to 200 letters, digits, '.', '_' and '-', since topics are named after it", name)
	}
	return nil
}

// topicName matches what may be part of a topic's name.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,200}$`)

// brokersOf returns the addresses of --brokers.
func brokersOf(c *cli.Context) []string {
	all := strings.Split(c.String("brokers"), ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// checkBrokers refuses addresses that cannot be dialled.
func checkBrokers(c *cli.Context) error {
	if !c.IsSet("brokers") {
		return nil
	}
	var errs []error
	for _, address := range brokersOf(c) {
		host, port, err := net.SplitHostPort(address)
		if n, _ := strconv.ParseUint(port, 10, 16); err != nil || host == "" || n == 0 {
			errs = append(errs, usagef("--brokers %q: want HOST:PORT such as localhost:9092", address))
		}
	}
	return errors.Join(errs...)
}

func checkGuarantee(guarantee string) error {
	if guarantee == config.AtLeastOnce || guarantee == config.ExactlyOnce {
		return nil
	}
	return usagef("--guarantee %q: want %s or %s", guarantee, config.AtLeastOnce, config.ExactlyOnce)
}

func checkListen(listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return usagef("--http %q: want HOST:PORT such as %s, or :8080 for all addresses", listen, defaultHTTP)
	}
	return nil
}

// checkURL refuses what is neither empty nor the URL of a server.
func checkURL(flag, text string) error {
	u, err := url.Parse(text)
	if text != "" && (err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme)) {
		return usagef("%s %q: want a URL such as http://10.0.0.7:8080", flag, text)
	}
	return nil
}

// tls returns the configuration of encrypted connections, or nil for plain ones.
func (p *program) tls(file *config.Config) (*tls.Config, error) {
	f := &file.TLS
	if !f.Enabled.Value && !f.CAFile.IsSet && !f.CertFile.IsSet {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CAFile.IsSet {
		pem, err := p.readFile(f.CAFile.Value)
		if err != nil {
			return nil, usagef("tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("tls.ca_file: %s holds no certificate in PEM form", f.CAFile.Value)
		}
	}
	if f.CertFile.IsSet {
		pair, err := tls.LoadX509KeyPair(f.CertFile.Value, f.KeyFile.Value)
		if err != nil {
			return nil, usagef("tls.cert_file and tls.key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// adminToken returns the token of those who may give orders over HTTP.
func (p *program) adminToken(file *config.Config) (config.Secret, error) {
	token, err := config.ReadSecret(config.TokenVariable, file.HTTP.AdminTokenFile.Value, p.env, p.readFile)
	if err != nil {
		return token, usageError{err}
	}
	if n := len(token.Reveal()); n > 0 && n < 16 {
		return token, usagef("the token of http.admin_token_file or %s has %d characters: want at least 16 that nobody can guess", config.TokenVariable, n)
	}
	return token, nil
}

// redis returns the configuration of the replica, or nil for none.
func (p *program) redis(file *config.Config) (*redis.Config, error) {
	f := &file.State.Redis
	if !f.URL.IsSet {
		if f.PasswordFile.IsSet || f.TTL.IsSet || f.Stores.IsSet {
			return nil, usagef("state.hot.redis says how results are replicated, and not where: set state.hot.redis.url")
		}
		return nil, nil
	}
	password, err := config.ReadSecret(config.RedisPasswordVariable, f.PasswordFile.Value, p.env, p.readFile)
	if err != nil {
		return nil, usageError{err}
	}
	return &redis.Config{URL: f.URL.Value, Password: password.Reveal(), TTL: f.TTL.Value}, nil
}

// openReplica opens the replica of an application.
func (s *settings) openReplica(t *topology.Topology) error {
	if s.redis == nil {
		return nil
	}
	c := *s.redis
	c.Application = s.group(t)
	replica, err := redis.Open(c)
	if err != nil {
		return usagef("state.hot.redis: %w", err)
	}
	s.streams.Replica = replica
	return nil
}

func (p *program) sasl(file *config.Config) (streams.SASL, error) {
	f := &file.SASL
	if !f.Mechanism.IsSet {
		return streams.SASL{}, nil
	}
	password, err := config.ReadSecret(config.PasswordVariable, f.PasswordFile.Value, p.env, p.readFile)
	if err != nil {
		return streams.SASL{}, usageError{err}
	}
	if password.IsEmpty() {
		return streams.SASL{}, usagef("sasl.mechanism is %s and there is no password: set sasl.password_file, or %s", f.Mechanism.Value, config.PasswordVariable)
	}
	return streams.SASL{Mechanism: f.Mechanism.Value, User: f.User.Value, Password: password.Reveal()}, nil
}

// Memory budgets, in bytes.
const (
	fallbackMemory = 4_000_000_000
	leastMemory    = 64 << 20
)

// memoryBudget returns the bytes that the instance may use: what is set, or 80 %
// of the control group's limit, or 4 GB.
func memoryBudget(file *config.Config, read func(string) ([]byte, error)) int64 {
	if file.Memory.IsSet {
		return file.Memory.Value
	}
	return max(leastMemory, groupLimit(read)/5*4)
}

// groupLimit returns the memory limit of the process's control group (version 2,
// then 1), or what stands for none.
func groupLimit(read func(string) ([]byte, error)) int64 {
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := read(name)
		if err != nil {
			continue
		}
		const unlimited = 1 << 60 // version 1 writes a number near 2^63
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < unlimited {
			return n
		}
	}
	return fallbackMemory / 4 * 5
}

// localURL is how this machine reaches a server that listens at a host:port.
func localURL(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return "http://localhost:" + port
	}
	return "http://" + listen
}

// serverURL is how others reach a server of this process.
func serverURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return fmt.Sprintf("http://%s", net.JoinHostPort(host, port))
}
