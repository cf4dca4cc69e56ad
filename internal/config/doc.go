// Package config reads the YAML configuration of millrace.
//
// Parse checks a file strictly: keys that do not exist, values of the wrong
// type, values out of range and contradictions are errors, and all of them are
// reported at once, each with file, line and what would be right:
//
//	c, err := config.Parse("millrace.yaml", text, config.Options{Sources: []string{"performance"}})
//
// The error is an Errors. Keys of features that this version does not have are
// refused too, with a message that says so, rather than ignored.
//
// # Values
//
// Each value is a Setting, which knows whether it was set and in which line, so
// that the caller can lay flags and environment over the file and defaults
// below it: flag, then environment, then file, then default.
//
//	c.Workers.Override(flagValue, flagWasGiven)
//	c.Workers.Default(runtime.NumCPU())
//
// Durations are written as 500ms, 120s or 1h30m, sizes as 512MiB or 4GB (K, M,
// G, T with B for powers of 1,000 and iB for powers of 1,024).
//
// # Secrets
//
// A secret is never written into the file, which gets copied and committed: the
// file names another file (sasl.password_file), or the environment holds it.
// Secret is what such a value is kept in; it prints as "[hidden]" in every way
// of printing, logging and encoding.
//
// # Keys
//
//	application, brokers, guarantee, workers, commit_interval, memory, on_error, offset_reset
//	tls.{enabled,ca_file,cert_file,key_file}
//	sasl.{mechanism,user,password_file}
//	http.{listen,advertise,admin_token_file}
//	state.{dir,hot_only,max_size_mb,hot.max_size_mb,warm.{backend,cache_size_mb}}
//	state.hot.redis.{url,password_file,ttl,stores}
//	rack, group.{instance_id,session_timeout,on_stop}
//	standby.{replicas,acceptable_lag,max_warmups,probing_interval}
//	checkpointing.{interval_seconds,format,storage,url,keep}
//	topics.{replication_factor,min_insync_replicas}
//	windowing.{size,allowed_lateness,watermark_delay,idle_timeout,max_ahead,align_within,advance_when_idle,offset_reset}
//	windowing.{early_interval,session_gap,session_at_most,experiment_size,anomaly_size,anomaly_advance}
//	sources.<name>.{enabled,topic,max_delay,idle_timeout,max_ahead,align_within,advance_when_idle}
//
// The warm tier is Pebble. sled, an embedded store of another language, is refused:
// the error says what to write instead.
package config
