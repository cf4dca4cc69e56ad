package config

import "go.yaml.in/yaml/v4"

// key is what may stand under a name: either a group of further keys, or a
// value, or something that this version refuses.
type key struct {
	group   []named
	read    func(r *reader, path string, n *yaml.Node)
	refused string // why
}

type named struct {
	name string
	key
}

func group(name string, keys ...named) named { return named{name, key{group: keys}} }

func refused(name, why string) named { return named{name, key{refused: why}} }

// value is a key whose text parse turns into a T, for to.
func value[T any](name string, to *Setting[T], parse func(n *yaml.Node) (T, string)) named {
	return named{name, key{read: func(r *reader, path string, n *yaml.Node) {
		v, problem := parse(n)
		if problem != "" {
			r.fail(n.Line, path, "%s", problem)
			return
		}
		*to = Setting[T]{Value: v, IsSet: true, Line: n.Line}
	}}}
}

// The reasons for which keys are refused.
const (
	noColdPassword  = "a password does not belong into this file: name a file with state.cold.password_file, or set " + ColdPasswordVariable
	noToken         = "a token does not belong into this file: name a file with http.admin_token_file, or set " + TokenVariable
	noPassword      = "a password does not belong into this file: name a file with sasl.password_file, or set " + PasswordVariable
	noRedisPassword = "a password does not belong into this file: name a file with state.hot.redis.password_file, or set " + RedisPasswordVariable
)

// keys returns all keys, reading into c.
func keys(c *Config, sources []string) []named {
	return []named{
		value("application", &c.Application, topicName),
		value("brokers", &c.Brokers, brokers),
		group("tls",
			value("enabled", &c.TLS.Enabled, boolean),
			value("ca_file", &c.TLS.CAFile, text),
			value("cert_file", &c.TLS.CertFile, text),
			value("key_file", &c.TLS.KeyFile, text)),
		group("sasl",
			value("mechanism", &c.SASL.Mechanism, oneOf("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
			value("user", &c.SASL.User, text),
			value("password_file", &c.SASL.PasswordFile, text),
			refused("password", noPassword)),
		group("http",
			value("listen", &c.HTTP.Listen, hostPort),
			value("advertise", &c.HTTP.Advertise, httpURL),
			value("admin_token_file", &c.HTTP.AdminTokenFile, text),
			refused("admin_token", noToken)),
		group("state",
			value("dir", &c.State.Dir, text),
			value("hot_only", &c.State.HotOnly, boolean),
			value("max_size_mb", &c.State.MaxSize, megabytes),
			group("hot",
				value("max_size_mb", &c.State.HotMaxSize, megabytes),
				group("redis",
					value("url", &c.State.Redis.URL, redisURL),
					value("password_file", &c.State.Redis.PasswordFile, text),
					value("ttl", &c.State.Redis.TTL, positiveMillis),
					value("stores", &c.State.Redis.Stores, texts),
					refused("password", noRedisPassword))),
			group("warm",
				value("backend", &c.State.WarmBackend, warmBackend),
				value("cache_size_mb", &c.State.WarmCacheSize, megabytes),
				value("ttl", &c.State.WarmTTL, positiveMillis)),
			group("cold",
				value("backend", &c.State.Cold.Backend, oneOf("postgres")),
				value("retention_days", &c.State.Cold.RetentionDays, integer(1, 36500)),
				value("url", &c.State.Cold.URL, postgresURL),
				value("url_file", &c.State.Cold.URLFile, text),
				value("password_file", &c.State.Cold.PasswordFile, text),
				value("schema", &c.State.Cold.Schema, text),
				value("backlog_mb", &c.State.Cold.Backlog, megabytes),
				refused("password", noColdPassword))),
		value("guarantee", &c.Guarantee, oneOf(AtLeastOnce, ExactlyOnce)),
		value("workers", &c.Workers, integer(1, 1024)),
		value("commit_interval", &c.CommitInterval, commitInterval),
		value("on_error", &c.OnError, oneOf(OnErrorFail, OnErrorSkip, OnErrorDeadLetter)),
		value("offset_reset", &c.OffsetReset, oneOf(offsetResets...)),
		value("memory", &c.Memory, memory),
		value("rack", &c.Rack, text),
		group("group",
			value("instance_id", &c.Group.InstanceID, topicName),
			value("session_timeout", &c.Group.SessionTimeout, sessionTimeout),
			value("on_stop", &c.Group.OnStop, oneOf(OnStopLeave, OnStopStay))),
		group("standby",
			value("replicas", &c.Standby.Replicas, integer(0, 15)),
			value("acceptable_lag", &c.Standby.AcceptableLag, integer(1, 1<<30)),
			value("max_warmups", &c.Standby.MaxWarmups, warmups),
			value("probing_interval", &c.Standby.ProbingInterval, probingInterval)),
		group("topics",
			value("replication_factor", &c.Topics.ReplicationFactor, replication),
			value("min_insync_replicas", &c.Topics.MinInsyncReplicas, integer(1, 32767))),
		group("windowing",
			value("size", &c.Windowing.Size, positiveMillis),
			value("allowed_lateness", &c.Windowing.AllowedLateness, millis),
			value("watermark_delay", &c.Windowing.WatermarkDelay, millis),
			value("idle_timeout", &c.Windowing.IdleTimeout, positiveMillis),
			value("max_ahead", &c.Windowing.MaxAhead, positiveMillis),
			value("align_within", &c.Windowing.AlignWithin, positiveMillis),
			value("advance_when_idle", &c.Windowing.AdvanceWhenIdle, positiveMillis),
			value("early_interval", &c.Windowing.EarlyInterval, millis),
			value("session_gap", &c.Windowing.SessionGap, positiveMillis),
			value("session_at_most", &c.Windowing.SessionAtMost, millis),
			value("experiment_size", &c.Windowing.ExperimentSize, positiveMillis),
			value("anomaly_size", &c.Windowing.AnomalySize, millis),
			value("anomaly_advance", &c.Windowing.AnomalyAdvance, positiveMillis)),
		group("checkpointing",
			value("interval_seconds", &c.Checkpointing.Interval, integer(1, 86_400)),
			value("format", &c.Checkpointing.Format, oneOf(FormatBinary)),
			value("storage", &c.Checkpointing.Storage, oneOf(StorageS3, StorageLocal)),
			value("url", &c.Checkpointing.URL, text),
			value("keep", &c.Checkpointing.Keep, integer(1, 1000))),
		group("sources", sourceKeys(c, sources)...),
	}
}

// offsetResets are what offset_reset takes.
var offsetResets = []string{"earliest", "latest", "fail"}

func sourceKeys(c *Config, sources []string) []named {
	all := make([]named, len(sources))
	for i, name := range sources {
		s := &Source{}
		c.Sources[name] = s
		all[i] = group(name,
			value("enabled", &s.Enabled, boolean),
			value("topic", &s.Topic, topicName),
			value("max_delay", &s.MaxDelay, millis),
			value("idle_timeout", &s.IdleTimeout, positiveMillis),
			value("max_ahead", &s.MaxAhead, positiveMillis),
			value("align_within", &s.AlignWithin, positiveMillis),
			value("advance_when_idle", &s.AdvanceWhenIdle, positiveMillis),
			value("offset_reset", &s.OffsetReset, oneOf(offsetResets...)))
	}
	return all
}
