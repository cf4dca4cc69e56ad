package llm_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/msgp"
	"github.com/millrace/millrace/llm"
)

// The shapes as a program would declare them that knows nothing of this
// package, only the fields' names.
type (
	wireEvent struct {
		Timestamp int64    `msgpack:"timestamp"`
		RequestID [16]byte `msgpack:"request_id"`
		SessionID *string  `msgpack:"session_id,omitempty"`
		Model     string   `msgpack:"model"`
	}
	wirePerformance struct {
		wireEvent        `msgpack:",inline"`
		LatencyMS        float64  `msgpack:"latency_ms"`
		PromptTokens     int64    `msgpack:"prompt_tokens"`
		CompletionTokens int64    `msgpack:"completion_tokens"`
		CostUSD          *float64 `msgpack:"cost_usd,omitempty"`
		Error            bool     `msgpack:"error"`
		Quality          *float64 `msgpack:"quality,omitempty"`
	}
	wireFeedback struct {
		wireEvent     `msgpack:",inline"`
		Rating        int64   `msgpack:"rating"`
		TaskCompleted bool    `msgpack:"task_completed"`
		DwellMS       int64   `msgpack:"dwell_ms"`
		Comment       *string `msgpack:"comment,omitempty"`
	}
	wireResponse struct {
		wireEvent        `msgpack:",inline"`
		Status           string   `msgpack:"status"`
		FinishReason     string   `msgpack:"finish_reason"`
		LatencyMS        float64  `msgpack:"latency_ms"`
		TTFTMS           *float64 `msgpack:"ttft_ms,omitempty"`
		PromptTokens     int64    `msgpack:"prompt_tokens"`
		CompletionTokens int64    `msgpack:"completion_tokens"`
	}
	wireHealth struct {
		wireEvent  `msgpack:",inline"`
		Component  string  `msgpack:"component"`
		Healthy    bool    `msgpack:"healthy"`
		CPU        float64 `msgpack:"cpu"`
		Memory     float64 `msgpack:"memory"`
		QueueDepth *int64  `msgpack:"queue_depth,omitempty"`
	}
	wireExperiment struct {
		wireEvent  `msgpack:",inline"`
		Experiment string  `msgpack:"experiment"`
		Variant    string  `msgpack:"variant"`
		Metric     string  `msgpack:"metric"`
		Value      float64 `msgpack:"value"`
	}
)

func pointer[T any](o llm.Optional[T]) *T {
	if v, ok := o.Get(); ok {
		return &v
	}
	return nil
}

func wire(e llm.Event) wireEvent {
	return wireEvent{e.Timestamp, e.RequestID, pointer(e.SessionID), e.Model}
}

func optional[T any](t *rapid.T, g *rapid.Generator[T], label string) llm.Optional[T] {
	if rapid.Bool().Draw(t, label+" is there") {
		return llm.Some(g.Draw(t, label))
	}
	return llm.Optional[T]{}
}

var (
	counts    = rapid.Int64Range(0, math.MaxInt64)
	amounts   = rapid.Float64Range(0, math.MaxFloat64)
	fractions = rapid.Float64Range(0, 1)
	names     = rapid.StringN(1, 40, -1)
	texts     = rapid.String()
)

func drawEvent(t *rapid.T) llm.Event {
	return llm.Event{
		Timestamp: counts.Draw(t, "timestamp"),
		RequestID: llm.RequestID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "request_id")),
		SessionID: optional(t, texts, "session_id"),
		Model:     names.Draw(t, "model"),
	}
}

func drawPerformance(t *rapid.T) llm.Performance {
	return llm.Performance{
		Event: drawEvent(t), LatencyMS: amounts.Draw(t, "latency_ms"),
		PromptTokens: counts.Draw(t, "prompt_tokens"), CompletionTokens: counts.Draw(t, "completion_tokens"),
		CostUSD: optional(t, amounts, "cost_usd"), Error: rapid.Bool().Draw(t, "error"),
		Quality: optional(t, fractions, "quality"),
	}
}

func drawFeedback(t *rapid.T) llm.Feedback {
	return llm.Feedback{
		Event: drawEvent(t), Rating: rapid.Int64Range(1, 5).Draw(t, "rating"),
		TaskCompleted: rapid.Bool().Draw(t, "task_completed"), DwellMS: counts.Draw(t, "dwell_ms"),
		Comment: optional(t, texts, "comment"),
	}
}

func drawResponse(t *rapid.T) llm.Response {
	return llm.Response{
		Event: drawEvent(t), Status: names.Draw(t, "status"), FinishReason: texts.Draw(t, "finish_reason"),
		LatencyMS: amounts.Draw(t, "latency_ms"), TTFTMS: optional(t, amounts, "ttft_ms"),
		PromptTokens: counts.Draw(t, "prompt_tokens"), CompletionTokens: counts.Draw(t, "completion_tokens"),
	}
}

func drawHealth(t *rapid.T) llm.Health {
	return llm.Health{
		Event: drawEvent(t), Component: names.Draw(t, "component"), Healthy: rapid.Bool().Draw(t, "healthy"),
		CPU: fractions.Draw(t, "cpu"), Memory: fractions.Draw(t, "memory"),
		QueueDepth: optional(t, counts, "queue_depth"),
	}
}

func drawExperiment(t *rapid.T) llm.Experiment {
	return llm.Experiment{
		Event: drawEvent(t), Experiment: names.Draw(t, "experiment"), Variant: names.Draw(t, "variant"),
		Metric: names.Draw(t, "metric"), Value: rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "value"),
	}
}

// form is an event type under test, with its codecs and its outside shape.
type form[T, W any] struct {
	name                            string
	plain, strict, json, strictJSON codec.Codec[T]
	draw                            func(*rapid.T) T
	wire                            func(T) W
}

func performanceForm() form[llm.Performance, wirePerformance] {
	return form[llm.Performance, wirePerformance]{"performance",
		llm.PerformanceCodec, llm.StrictPerformanceCodec, llm.PerformanceJSON, llm.StrictPerformanceJSON,
		drawPerformance, func(v llm.Performance) wirePerformance {
			return wirePerformance{wire(v.Event), v.LatencyMS, v.PromptTokens, v.CompletionTokens,
				pointer(v.CostUSD), v.Error, pointer(v.Quality)}
		}}
}

func feedbackForm() form[llm.Feedback, wireFeedback] {
	return form[llm.Feedback, wireFeedback]{"feedback",
		llm.FeedbackCodec, llm.StrictFeedbackCodec, llm.FeedbackJSON, llm.StrictFeedbackJSON,
		drawFeedback, func(v llm.Feedback) wireFeedback {
			return wireFeedback{wire(v.Event), v.Rating, v.TaskCompleted, v.DwellMS, pointer(v.Comment)}
		}}
}

func responseForm() form[llm.Response, wireResponse] {
	return form[llm.Response, wireResponse]{"response",
		llm.ResponseCodec, llm.StrictResponseCodec, llm.ResponseJSON, llm.StrictResponseJSON,
		drawResponse, func(v llm.Response) wireResponse {
			return wireResponse{wire(v.Event), v.Status, v.FinishReason, v.LatencyMS, pointer(v.TTFTMS),
				v.PromptTokens, v.CompletionTokens}
		}}
}

func healthForm() form[llm.Health, wireHealth] {
	return form[llm.Health, wireHealth]{"health",
		llm.HealthCodec, llm.StrictHealthCodec, llm.HealthJSON, llm.StrictHealthJSON,
		drawHealth, func(v llm.Health) wireHealth {
			return wireHealth{wire(v.Event), v.Component, v.Healthy, v.CPU, v.Memory, pointer(v.QueueDepth)}
		}}
}

func experimentForm() form[llm.Experiment, wireExperiment] {
	return form[llm.Experiment, wireExperiment]{"experiment",
		llm.ExperimentCodec, llm.StrictExperimentCodec, llm.ExperimentJSON, llm.StrictExperimentJSON,
		drawExperiment, func(v llm.Experiment) wireExperiment {
			return wireExperiment{wire(v.Event), v.Experiment, v.Variant, v.Metric, v.Value}
		}}
}

func TestEvents(t *testing.T) {
	testForm(t, performanceForm())
	testForm(t, feedbackForm())
	testForm(t, responseForm())
	testForm(t, healthForm())
	testForm(t, experimentForm())
}

func testForm[T, W any](t *testing.T, f form[T, W]) {
	all := map[string]codec.Codec[T]{"plain": f.plain, "strict": f.strict, "json": f.json, "strict json": f.strictJSON}
	t.Run(f.name+"/agrees with v5", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := f.draw(t)
			b, err := f.plain.Append([]byte("head"), v)
			if err != nil || !bytes.HasPrefix(b, []byte("head")) {
				t.Fatalf("Append: %q, %v", b, err)
			}
			var read W
			decoder := msgpack.NewDecoder(bytes.NewReader(b[4:]))
			decoder.DisallowUnknownFields(true)
			if err := decoder.Decode(&read); err != nil || !reflect.DeepEqual(read, f.wire(v)) {
				t.Fatalf("v5 reads %+v, %v\nof %+v", read, err, v)
			}

			var buf bytes.Buffer
			enc := msgpack.NewEncoder(&buf)
			enc.UseCompactInts(rapid.Bool().Draw(t, "compact"))
			if err := enc.Encode(f.wire(v)); err != nil {
				t.Fatal(err)
			}
			for _, c := range []codec.Codec[T]{f.plain, f.strict} {
				if got, err := c.Decode(buf.Bytes()); err != nil || !reflect.DeepEqual(got, v) {
					t.Fatalf("Decode of v5's bytes: %+v, %v\nwant %+v", got, err, v)
				}
			}
		})
	})
	t.Run(f.name+"/round trip", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := f.draw(t)
			for name, c := range all {
				b, err := c.Append(nil, v)
				if err != nil {
					t.Fatalf("%s: Append: %v", name, err)
				}
				if got, err := c.Decode(b); err != nil || !reflect.DeepEqual(got, v) {
					t.Fatalf("%s: %+v, %v\nwant %+v", name, got, err, v)
				}
			}
		})
	})
	t.Run(f.name+"/any order, more fields", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := f.draw(t)
			b, err := f.plain.Append(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			fields := split(t, b)
			fields = rapid.Permutation(append(fields, field{"surplus", []byte{0x91, 0x81, 0xa1, 'x', 0xc0}})).Draw(t, "order")
			if got, err := f.plain.Decode(join(fields)); err != nil || !reflect.DeepEqual(got, v) {
				t.Fatalf("%+v, %v\nwant %+v", got, err, v)
			}
			_, err = f.strict.Decode(join(fields))
			if wrong := (*llm.FieldError)(nil); !errors.Is(err, llm.ErrUnknownField) ||
				!errors.As(err, &wrong) || wrong.Field != "surplus" || wrong.Type != f.name {
				t.Fatalf("strict: %v", err)
			}
		})
	})
	t.Run(f.name+"/missing, nil, twice, wrong type", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { damageFields(t, f, f.draw(t)) })
	})
	t.Run(f.name+"/truncated", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := f.draw(t)
			// The strict forms share the reader of the others.
			for name, c := range map[string]codec.Codec[T]{"plain": f.plain, "json": f.json} {
				b, err := c.Append(nil, v)
				if err != nil {
					t.Fatal(err)
				}
				for cut := range b {
					if got, err := c.Decode(b[:cut]); err == nil {
						t.Fatalf("%s: %d of %d bytes decode as %+v", name, cut, len(b), got)
					}
				}
				if got, err := c.Decode(append(b, b...)); err == nil {
					t.Fatalf("%s: two values decode as %+v", name, got)
				}
			}
		})
	})
}

// damageFields takes each field away, repeats it, and gives it nil and an array.
func damageFields[T, W any](t *rapid.T, f form[T, W], v T) {
	optional := map[string]bool{"session_id": true, "quality": true, "cost_usd": true,
		"comment": true, "ttft_ms": true, "queue_depth": true}
	b, err := f.plain.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	fields := split(t, b)
	for i, victim := range fields {
		others := append(append([]field{}, fields[:i]...), fields[i+1:]...)
		for _, c := range []codec.Codec[T]{f.plain, f.strict} {
			expect := func(what string, fields []field, want error) {
				_, err := c.Decode(join(fields))
				if want == nil && err == nil {
					return
				}
				wrong := (*llm.FieldError)(nil)
				if !errors.Is(err, want) || !errors.As(err, &wrong) || wrong.Field != victim.name {
					t.Fatalf("%s %s: %v, want %v", victim.name, what, err, want)
				}
			}
			var missing, null error = llm.ErrMissing, msgp.ErrType
			if optional[victim.name] {
				missing, null = nil, nil
			}
			expect("missing", others, missing)
			expect("nil", append(others, field{victim.name, []byte{0xc0}}), null)
			expect("array", append(others, field{victim.name, []byte{0x91, 1}}), msgp.ErrType)
		}
		twice := append(append([]field{}, fields...), victim)
		if got, err := f.plain.Decode(join(twice)); err != nil || !reflect.DeepEqual(got, v) {
			t.Fatalf("%s twice: %+v, %v", victim.name, got, err)
		}
		if _, err := f.strict.Decode(join(twice)); !errors.Is(err, llm.ErrDuplicateField) {
			t.Fatalf("%s twice, strict: %v", victim.name, err)
		}
	}
}

// field is a name and an encoded value.
type field struct {
	name  string
	value []byte
}

func split(t *rapid.T, b []byte) []field {
	d := msgpack.NewDecoder(bytes.NewReader(b))
	n, err := d.DecodeMapLen()
	if err != nil {
		t.Fatal(err)
	}
	fields := make([]field, n)
	for i := range fields {
		if fields[i].name, err = d.DecodeString(); err != nil {
			t.Fatal(err)
		}
		if fields[i].value, err = d.DecodeRaw(); err != nil {
			t.Fatal(err)
		}
	}
	return fields
}

func join(fields []field) []byte {
	b := msgp.AppendMapLen(nil, len(fields))
	for _, f := range fields {
		b = append(msgp.AppendStr(b, f.name), f.value...)
	}
	return b
}

// TestGoldenPerformance fixes the bytes that other programs may already hold.
func TestGoldenPerformance(t *testing.T) {
	const packed = "8a" +
		"a974696d657374616d70" + "cf0000018bd959d0eb" +
		"aa726571756573745f6964" + "c4108d8ac610566d4ef09c22186b2a5ed793" +
		"aa73657373696f6e5f6964" + "ae73657373696f6e2d303034373131" +
		"a56d6f64656c" + "aa636861742d6c61726765" +
		"aa6c6174656e63795f6d73" + "cb40b45a6666666666" +
		"ad70726f6d70745f746f6b656e73" + "cd12c8" +
		"b1636f6d706c6574696f6e5f746f6b656e73" + "ccd2" +
		"a8636f73745f757364" + "cb3f8999999999999a" +
		"a56572726f72" + "c2" +
		"a77175616c697479" + "cb3fea8f5c28f5c28f"
	const text = `{"timestamp":1700158623979,"request_id":"8d8ac610-566d-4ef0-9c22-186b2a5ed793",` +
		`"session_id":"session-004711","model":"chat-large","latency_ms":5210.4,"prompt_tokens":4808,` +
		`"completion_tokens":210,"cost_usd":0.0125,"error":false,"quality":0.83}`
	b, err := llm.PerformanceCodec.Append(nil, typical())
	if err != nil || hex.EncodeToString(b) != packed {
		t.Errorf("msgpack:\n%x, %v, want\n%s", b, err, packed)
	}
	b, err = llm.PerformanceJSON.Append(nil, typical())
	if err != nil || string(b) != text {
		t.Errorf("JSON:\n%s, %v, want\n%s", b, err, text)
	}
}

func TestJSONIsWhatOthersRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawFeedback(t)
		b, err := llm.FeedbackJSON.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		want, there := v.Comment.Get()
		if comment, ok := got["comment"]; ok != there || there && comment != want {
			t.Fatalf("comment %q, want %q", comment, want)
		}
		if got["request_id"] != v.RequestID.String() {
			t.Fatalf("request_id %v", got["request_id"])
		}
	})
}

func TestBadJSON(t *testing.T) {
	id := `"request_id":"8d8ac610-566d-4ef0-9c22-186b2a5ed793"`
	cases := map[string]string{
		``:                     `llm: no valid JSON: unexpected EOF`,
		`nonsense`:             `llm: no valid JSON: invalid character 'o' in literal null (expecting 'u')`,
		`[]`:                   `llm: feedback: wrong type: want a map, found an array`,
		`{} {}`:                `llm: no valid JSON: more after the value, at offset 4`,
		`{"rating":1e999}`:     `llm: no valid JSON: the number 1e999 is too large`,
		`{"rating":1.5}`:       `llm: feedback: field "rating": wrong type: want an integer, found the number 1.5`,
		`{"rating":"5"}`:       `llm: feedback: field "rating": wrong type: want an integer, found a string`,
		`{"request_id":"x"}`:   `request id "x": want a UUID like 8d8ac610-566d-4ef0-9c22-186b2a5ed793`,
		`{` + id + `}`:         `llm: feedback: field "timestamp": required, but missing`,
		`{"timestamp":1,` + id: `llm: no valid JSON: unexpected EOF`,
	}
	for text, want := range cases {
		if _, err := llm.FeedbackJSON.Decode([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s:\n%v, want\n%s", text, err, want)
		}
	}
	if _, err := llm.ExperimentJSON.Append(nil, llm.Experiment{Value: math.NaN()}); !errors.Is(err, llm.ErrJSON) {
		t.Errorf("NaN: %v", err)
	}
}

func TestStrictRanges(t *testing.T) {
	event := typical().Event
	noModel, before := event, event
	noModel.Model, before.Timestamp = "", -1
	performance := func(change func(*llm.Performance)) error {
		v := typical()
		change(&v)
		return both(t, llm.PerformanceCodec, llm.StrictPerformanceCodec, v)
	}
	cases := []struct {
		err  error
		want string
	}{
		{performance(func(v *llm.Performance) { v.Event = before }), `performance: field "timestamp": out of range: -1, want 0 or more`},
		{performance(func(v *llm.Performance) { v.Event = noModel }), `performance: field "model": out of range: "", want a name`},
		{performance(func(v *llm.Performance) { v.LatencyMS = -1 }), `performance: field "latency_ms": out of range: -1, want a finite number, 0 or more`},
		{performance(func(v *llm.Performance) { v.LatencyMS = math.NaN() }), `performance: field "latency_ms": out of range: NaN, want a finite number, 0 or more`},
		{performance(func(v *llm.Performance) { v.PromptTokens = -2 }), `performance: field "prompt_tokens": out of range: -2, want 0 or more`},
		{performance(func(v *llm.Performance) { v.CompletionTokens = -2 }), `performance: field "completion_tokens": out of range: -2, want 0 or more`},
		{performance(func(v *llm.Performance) { v.CostUSD = llm.Some(math.Inf(1)) }), `performance: field "cost_usd": out of range: +Inf, want a finite number, 0 or more`},
		{performance(func(v *llm.Performance) { v.Quality = llm.Some(1.1) }), `performance: field "quality": out of range: 1.1, want 0 to 1`},
		{both(t, llm.FeedbackCodec, llm.StrictFeedbackCodec, llm.Feedback{Event: event}), `feedback: field "rating": out of range: 0, want 1 to 5`},
		{both(t, llm.FeedbackCodec, llm.StrictFeedbackCodec, llm.Feedback{Event: event, Rating: 6}), `feedback: field "rating": out of range: 6, want 1 to 5`},
		{both(t, llm.FeedbackCodec, llm.StrictFeedbackCodec, llm.Feedback{Event: event, Rating: 5, DwellMS: -1}), `feedback: field "dwell_ms": out of range: -1, want 0 or more`},
		{both(t, llm.ResponseCodec, llm.StrictResponseCodec, llm.Response{Event: event}), `response: field "status": out of range: "", want a name`},
		{both(t, llm.ResponseCodec, llm.StrictResponseCodec, llm.Response{Event: event, Status: "ok", TTFTMS: llm.Some(-1.0)}), `response: field "ttft_ms": out of range: -1, want a finite number, 0 or more`},
		{both(t, llm.HealthCodec, llm.StrictHealthCodec, llm.Health{Event: event, Component: "gpu", CPU: 1.5}), `health: field "cpu": out of range: 1.5, want 0 to 1`},
		{both(t, llm.HealthCodec, llm.StrictHealthCodec, llm.Health{Event: event, Component: "gpu", Memory: -0.5}), `health: field "memory": out of range: -0.5, want 0 to 1`},
		{both(t, llm.HealthCodec, llm.StrictHealthCodec, llm.Health{Event: event, Component: "gpu", QueueDepth: llm.Some(int64(-1))}), `health: field "queue_depth": out of range: -1, want 0 or more`},
		{both(t, llm.ExperimentCodec, llm.StrictExperimentCodec, llm.Experiment{Event: event, Experiment: "e", Variant: "v", Metric: "m", Value: math.Inf(-1)}), `experiment: field "value": out of range: -Inf, want a finite number`},
	}
	for _, c := range cases {
		if c.err == nil || c.err.Error() != "llm: "+c.want || !errors.Is(c.err, llm.ErrRange) {
			t.Errorf("%v, want llm: %s", c.err, c.want)
		}
	}
}

// both returns the error with which the strict codec decodes v, after checking
// that the plain one takes v and that the strict one does not encode it.
func both[T any](t *testing.T, plain, strict codec.Codec[T], v T) error {
	t.Helper()
	b, err := plain.Append(nil, v)
	if err == nil {
		_, err = plain.Decode(b)
	}
	if err != nil {
		t.Errorf("lenient: %v", err)
	}
	if dst, err := strict.Append([]byte("x"), v); err == nil || len(dst) != 1 {
		t.Errorf("strict encodes %+v as %x, %v", v, dst, err)
	}
	_, err = strict.Decode(b)
	return err
}

func TestFloatsForIntegers(t *testing.T) {
	fields := []field{
		{"timestamp", msgp.AppendFloat(nil, 1.7e12)},
		{"request_id", msgp.AppendBytes(nil, make([]byte, 16))},
		{"model", msgp.AppendStr(nil, "m")},
		{"latency_ms", msgp.AppendInt(nil, 12)},
		{"prompt_tokens", msgp.AppendFloat(nil, 7)},
		{"completion_tokens", msgp.AppendInt(nil, 8)},
		{"error", msgp.AppendBool(nil, false)},
	}
	v, err := llm.PerformanceCodec.Decode(join(fields))
	if err != nil || v.Timestamp != 1_700_000_000_000 || v.LatencyMS != 12 || v.PromptTokens != 7 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err = llm.StrictPerformanceCodec.Decode(join(fields)); !errors.Is(err, msgp.ErrType) {
		t.Errorf("strict: %v", err)
	}
}

func TestNoAllocation(t *testing.T) {
	b, err := llm.PerformanceCodec.Append(nil, typical())
	if err != nil {
		t.Fatal(err)
	}
	shuffled := append([]byte{0x8b, 0xa1, 'x', 1}, b[1:]...) // an unknown field first
	huge := []byte{0xdf, 0xff, 0xff, 0xff, 0xff, 0xdb, 0xff, 0xff, 0xff, 0xff}
	buf := make([]byte, 0, len(b))
	for name, run := range map[string]struct {
		max float64
		f   func()
	}{
		"decode":           {0, func() { llm.PerformanceCodec.Decode(b) }},
		"decode shuffled":  {0, func() { llm.PerformanceCodec.Decode(shuffled) }},
		"append":           {0, func() { llm.PerformanceCodec.Append(buf, typical()) }},
		"huge length":      {10, func() { llm.PerformanceCodec.Decode(huge) }}, // the error's own
		"huge, feedback":   {10, func() { llm.FeedbackCodec.Decode(huge) }},
		"huge, experiment": {10, func() { llm.ExperimentCodec.Decode(huge) }},
	} {
		if got := testing.AllocsPerRun(100, run.f); got > run.max {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func FuzzPerformanceDecode(f *testing.F) {
	b, err := llm.PerformanceCodec.Append(nil, typical())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := llm.PerformanceCodec.Decode(b)
		if err == nil {
			// The same value in another order takes the general way.
			again, err := llm.PerformanceCodec.Decode(append(reordered(b), b[headLen(b):]...))
			if err != nil || !same(v, again) {
				t.Errorf("%+v and %+v, %v", v, again, err)
			}
		}
		if w, strictErr := llm.StrictPerformanceCodec.Decode(b); strictErr == nil && (err != nil || !same(v, w)) {
			t.Errorf("strict takes %x as %+v, lenient as %+v, %v", b, w, v, err)
		}
		llm.FeedbackCodec.Decode(b)
		llm.ResponseCodec.Decode(b)
		llm.HealthCodec.Decode(b)
		llm.ExperimentCodec.Decode(b)
		llm.ResultCodec.Decode(b)
	})
}

// reordered returns the head of the map b with one unknown field more.
func reordered(b []byte) []byte {
	r := msgp.NewReader(b)
	return append(msgp.AppendMapLen(nil, r.MapLen()+1), 0xa1, 'x', 0xc0)
}

func headLen(b []byte) int {
	switch b[0] {
	case 0xde:
		return 3
	case 0xdf:
		return 5
	}
	return 1
}

// same compares by bytes, so that NaN equals itself.
func same(a, b llm.Performance) bool {
	x, _ := llm.PerformanceCodec.Append(nil, a)
	y, _ := llm.PerformanceCodec.Append(nil, b)
	return bytes.Equal(x, y)
}

func FuzzJSONDecode(f *testing.F) {
	b, err := llm.PerformanceJSON.Append(nil, typical())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"latency_ms":{"mean":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := llm.PerformanceJSON.Decode(b)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Errorf("%q is no JSON, but decodes as %+v", b, v)
		}
		text, err := llm.PerformanceJSON.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := llm.PerformanceJSON.Decode(text); err != nil || !same(v, again) {
			t.Errorf("%s: %+v, %v", text, again, err)
		}
	})
}
