package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
)

// Secret is a text that does not show when it is printed, logged or encoded.
// The zero Secret is empty.
type Secret struct{ text string }

const hidden = "[hidden]"

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, for the one place that needs it.
func (s Secret) Reveal() string { return s.text }

// IsEmpty says whether there is no text.
func (s Secret) IsEmpty() bool { return s.text == "" }

// Format writes "[hidden]" whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// MarshalText returns "[hidden]", for JSON, YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue returns "[hidden]" for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// PasswordVariable is the environment variable of the SASL password.
const PasswordVariable = "MILLRACE_SASL_PASSWORD"

// TokenVariable is the environment variable of the token for orders over HTTP.
const TokenVariable = "MILLRACE_ADMIN_TOKEN"

// ColdURLVariable and ColdPasswordVariable are the environment variables of the
// cold tier's database.
const (
	ColdURLVariable      = "MILLRACE_POSTGRES_URL"
	ColdPasswordVariable = "MILLRACE_POSTGRES_PASSWORD"
)

// RedisPasswordVariable is the environment variable of the password of Redis.
const RedisPasswordVariable = "MILLRACE_REDIS_PASSWORD"

// ErrSecret means that a secret cannot be had.
var ErrSecret = errors.New("config: no secret")

// ReadSecret returns what the environment variable holds, or else what the file
// holds, without the line end behind it. lookup and read are os.LookupEnv and
// os.ReadFile, or a test's. Without variable and with file empty there is no
// secret and no error. The error never shows any of the secret.
func ReadSecret(variable, file string, lookup func(string) (string, bool), read func(string) ([]byte, error)) (Secret, error) {
	if text, ok := lookup(variable); ok {
		if text == "" {
			return Secret{}, fmt.Errorf("%w: the variable %s is set but empty", ErrSecret, variable)
		}
		return NewSecret(text), nil
	}
	if file == "" {
		return Secret{}, nil
	}
	b, err := read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Secret{}, fmt.Errorf("%w: the file %s does not exist (or set %s)", ErrSecret, file, variable)
	}
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return Secret{}, fmt.Errorf("%w: the file %s is empty", ErrSecret, file)
	}
	return NewSecret(text), nil
}
