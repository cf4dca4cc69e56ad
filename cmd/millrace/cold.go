package main

import (
	"log/slog"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/stores/postgres"
)

// cold returns the configuration of the cold tier, or nil without one.
func (p *program) cold(file *config.Config, log *slog.Logger) (*postgres.Config, error) {
	f := &file.State.Cold
	if !f.Backend.IsSet {
		return nil, nil
	}
	url := f.URL.Value
	if secret, err := config.ReadSecret(config.ColdURLVariable, f.URLFile.Value, p.env, p.readFile); err != nil {
		return nil, usageError{err}
	} else if !secret.IsEmpty() {
		url = secret.Reveal()
	}
	if url == "" {
		return nil, usagef("state.cold.backend is %s and nothing says where it is: set state.cold.url, state.cold.url_file or %s", f.Backend.Value, config.ColdURLVariable)
	}
	password, err := config.ReadSecret(config.ColdPasswordVariable, f.PasswordFile.Value, p.env, p.readFile)
	if err != nil {
		return nil, usageError{err}
	}
	return &postgres.Config{
		URL: url, Password: password.Reveal(), Schema: f.Schema.Value,
		Retention: time.Duration(f.RetentionDays.Value) * 24 * time.Hour, Logger: log,
	}, nil
}

// openCold opens the cold tier, if there is one, and returns what closes it.
func (s *settings) openCold() (closeIt func(), err error) {
	if s.cold == nil {
		return func() {}, nil
	}
	tier, err := postgres.Open(*s.cold)
	if err != nil {
		return nil, usageError{err}
	}
	s.streams.Cold = tier
	return tier.Close, nil
}
