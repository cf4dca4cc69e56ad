package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/millrace/millrace/internal/config"
)

func options() config.Options {
	return config.Options{Sources: []string{"performance", "feedback"}}
}

func Example() {
	_, err := config.Parse("millrace.yaml", []byte("brokers: [kafka]\nwindowing: {sise: 60s}\nworkers: many\n"), options())
	fmt.Println(err)

	c, err := config.Parse("millrace.yaml", []byte("workers: 4"), options())
	c.Workers.Default(2)
	c.Guarantee.Default(config.AtLeastOnce)
	fmt.Println(c.Workers, c.Guarantee.Value, err)
	// Output:
	// millrace.yaml:1: brokers: want host:port, found "kafka"
	// millrace.yaml:2: windowing.sise: unknown key; did you mean size?
	// millrace.yaml:3: workers: want a whole number from 1 to 1024, found "many"
	// 4 at-least-once <nil>
}

// TestFiles reads the files in testdata: the output is the whole error, or what
// has been set.
func TestFiles(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			c, err := config.Parse("f.yaml", []byte(d.Input), options())
			if err != nil {
				if c != nil {
					t.Error("an error and a configuration")
				}
				return err.Error() + "\n"
			}
			var b strings.Builder
			describe(&b, "", reflect.ValueOf(*c))
			return b.String()
		})
	})
}

// describe writes each setting that is set as "path = value (line)".
func describe(b *strings.Builder, path string, v reflect.Value) {
	if set := v.FieldByName("IsSet"); set.IsValid() {
		if set.Bool() {
			fmt.Fprintf(b, "%s = %v (line %v)\n", path, v.FieldByName("Value"), v.FieldByName("Line"))
		}
		return
	}
	for i := range v.NumField() {
		inner := strings.TrimPrefix(path+"."+v.Type().Field(i).Name, ".")
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			describe(b, inner, f)
		case reflect.Map:
			for _, name := range options().Sources {
				describe(b, inner+"["+name+"]", f.MapIndex(reflect.ValueOf(name)).Elem())
			}
		}
	}
}

func TestLargeAndBinaryFiles(t *testing.T) {
	for want, text := range map[string]string{
		"f.yaml:1: the file has 1048577 bytes, more than 1048576": strings.Repeat("#", config.MaxSize+1),
		"f.yaml:3: the file is not UTF-8 text":                    "workers: 1\n\n\xff",
	} {
		if _, err := config.Parse("f.yaml", []byte(text), options()); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err := config.Parse("f.yaml", []byte("a: 1\nb: 2"), options())
	if all := (config.Errors)(nil); !errors.As(err, &all) || len(all) != 2 || all[1].Line != 2 || all[1].Key != "b" {
		t.Errorf("%v", err)
	}
}

func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		file, env, flag bool
		want            int
	}{
		{false, false, false, 1}, {true, false, false, 2}, {true, true, false, 3},
		{false, true, true, 4}, {true, true, true, 4},
	} {
		var s config.Setting[int]
		if s.String() != "unset" {
			t.Errorf("%v", s)
		}
		s.Override(2, c.file)
		s.Override(3, c.env)
		s.Override(4, c.flag)
		s.Default(1)
		if s.Value != c.want || s.IsSet != (c.file || c.env || c.flag) {
			t.Errorf("%+v: %+v", c, s)
		}
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	s := struct{ Password config.Secret }{config.NewSecret("hunter2")}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "password", s.Password, "all", s)
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	all := logged.String() + string(encoded) + fmt.Sprint(s) + fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s.Password, s, s, s.Password, s)
	if strings.Contains(all, "hunter2") || strings.Contains(all, "68756e746572") || strings.Count(all, "[hidden]") < 9 {
		t.Errorf("%s", all)
	}
	if s.Password.Reveal() != "hunter2" || s.Password.IsEmpty() || !(config.Secret{}).IsEmpty() {
		t.Error("the secret is lost")
	}
}

func TestReadSecret(t *testing.T) {
	read := func(file string) ([]byte, error) {
		switch file {
		case "good":
			return []byte("from file\r\n"), nil
		case "empty":
			return []byte("\n"), nil
		case "locked":
			return nil, &fs.PathError{Op: "open", Path: file, Err: fs.ErrPermission}
		}
		return nil, &fs.PathError{Op: "open", Path: file, Err: fs.ErrNotExist}
	}
	for _, c := range []struct{ env, file, want, err string }{
		{"", "", "", ""},
		{"from environment", "good", "from environment", ""},
		{"", "good", "from file", ""},
		{"-", "good", "", "config: no secret: the variable MILLRACE_SASL_PASSWORD is set but empty"},
		{"", "empty", "", "config: no secret: the file empty is empty"},
		{"", "missing", "", "config: no secret: the file missing does not exist (or set MILLRACE_SASL_PASSWORD)"},
		{"", "locked", "", "config: no secret: open locked: permission denied"},
	} {
		lookup := func(string) (string, bool) { return strings.TrimPrefix(c.env, "-"), c.env != "" }
		got, err := config.ReadSecret(config.PasswordVariable, c.file, lookup, read)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got.Reveal() != c.want || text != c.err || (err != nil) != errors.Is(err, config.ErrSecret) {
			t.Errorf("%+v: %q, %v", c, got.Reveal(), err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1B": 1, "64KiB": 64 << 10, "1.5GiB": 3 << 29, "4GB": 4e9, "2 TiB": 2 << 40, "10MB": 10e6, "1KB": 1000,
	} {
		if got, err := config.ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "GB", "-1GB", "1..5GB", "1gb", "9999999999TiB", "1e9B"} {
		if got, err := config.ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestDurationsAreWhole(t *testing.T) {
	c, err := config.Parse("f.yaml", []byte("commit_interval: 1m30s"), options())
	if err != nil || c.CommitInterval.Value != 90*time.Second {
		t.Errorf("%v, %v", c, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("state: {hot: {max_size_mb: 2048}}\nbrokers: [a:1]\n"))
	f.Add([]byte("a: &x [*x]\n---\n? [b]\n: c\n<<: {a: 1}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := config.Parse("f.yaml", b, options())
		if (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
		for _, e := range strings.Split(fmt.Sprint(err), "\n") {
			if err != nil && !strings.HasPrefix(e, "f.yaml:") {
				t.Errorf("%q", e)
			}
		}
	})
}
