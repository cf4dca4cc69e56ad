package llm

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/msgp"
	"github.com/millrace/millrace/window"
)

// Result is what one pane says about one key and window.
type Result struct {
	// Key is what was grouped by, such as the model.
	Key string
	// WindowStart and WindowEnd bound the window, in Unix milliseconds; the end
	// is not part of it.
	WindowStart, WindowEnd int64
	// Pane and Sequence tell the results of a key and window apart, Final marks
	// the last, and Retracted one that takes an earlier one back: see
	// window.Pane.
	Pane             window.PaneKind
	Sequence         int64
	Final, Retracted bool

	// Count is the number of events, Errors of those that failed, ErrorRate
	// their share.
	Count, Errors int64
	ErrorRate     float64
	// PromptTokens, CompletionTokens and CostUSD (US dollars) are sums; cost is
	// summed over the events that have one.
	PromptTokens, CompletionTokens int64
	CostUSD                        float64
	// QualityMean is the mean over the events that have a quality, absent if
	// none has.
	QualityMean Optional[float64]
	// LatencyMS describes the latencies.
	LatencyMS Latency
}

// Latency describes a set of latencies, in milliseconds. Mean and Max are
// exact, the percentiles are within 1 %. All are 0 if the set is empty.
type Latency struct {
	Mean, P50, P95, P99, Max float64
}

// NewResult describes s, the aggregate of key in window w, as pane p shows it.
// The result keeps key but nothing of s.
func NewResult(key string, w window.Window, p window.Pane, s *Stats) Result {
	r := Result{
		Key: key, WindowStart: w.Start, WindowEnd: w.End,
		Pane: p.Kind, Sequence: p.Sequence, Final: p.Final, Retracted: p.Retracted,
		Count: s.Count, Errors: s.Errors,
		PromptTokens: s.PromptTokens, CompletionTokens: s.CompletionTokens, CostUSD: s.CostUSD,
	}
	if s.QualityCount > 0 {
		r.QualityMean = Some(s.QualitySum / float64(s.QualityCount))
	}
	if s.Count > 0 {
		r.ErrorRate = float64(s.Errors) / float64(s.Count)
		r.LatencyMS = Latency{
			Mean: s.LatencySum / float64(s.Count),
			P50:  s.Latency(0.50), P95: s.Latency(0.95), P99: s.Latency(0.99),
			Max: s.LatencyMax,
		}
	}
	return r
}

// The codecs of results. Both forms have every field always; what is a mean
// over nothing is null (see the package's documentation). Decoding is lenient
// towards unknown fields, and takes null for 0 or absent.
var (
	ResultJSON  codec.Codec[Result] = jsonCodec[Result]{ResultCodec}
	ResultCodec codec.Codec[Result] = resultCodec{}
)

var resultSchema = schema{
	name: "result",
	fields: []string{"key", "window_start", "window_end", "pane", "sequence", "final", "retracted",
		"count", "errors", "error_rate", "prompt_tokens", "completion_tokens", "cost_usd",
		"quality_mean", "latency_ms"},
	required: 1<<15 - 1,
}

// latencyFields are the fields of latency_ms, in the order of Latency.
var latencyFields = [...]string{"mean", "p50", "p95", "p99", "max"}

func (l *Latency) fields() [len(latencyFields)]*float64 {
	return [...]*float64{&l.Mean, &l.P50, &l.P95, &l.P99, &l.Max}
}

type resultCodec struct{}

func (resultCodec) Append(dst []byte, v Result) ([]byte, error) {
	dst = msgp.AppendMapLen(dst, len(resultSchema.fields))
	dst = msgp.AppendStr(msgp.AppendStr(dst, "key"), v.Key)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "window_start"), v.WindowStart)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "window_end"), v.WindowEnd)
	dst = msgp.AppendStr(msgp.AppendStr(dst, "pane"), v.Pane.String())
	dst = msgp.AppendInt(msgp.AppendStr(dst, "sequence"), v.Sequence)
	dst = msgp.AppendBool(msgp.AppendStr(dst, "final"), v.Final)
	dst = msgp.AppendBool(msgp.AppendStr(dst, "retracted"), v.Retracted)
	return v.appendMeasures(dst, true), nil
}

// appendMeasures appends the fields that describe the aggregate, from count on.
// A mean over nothing is nil or, without nils, left out.
func (v *Result) appendMeasures(dst []byte, nils bool) []byte {
	dst = msgp.AppendInt(msgp.AppendStr(dst, "count"), v.Count)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "errors"), v.Errors)
	some := v.Count > 0
	if some || nils {
		dst = appendMean(msgp.AppendStr(dst, "error_rate"), v.ErrorRate, some)
	}
	dst = msgp.AppendInt(msgp.AppendStr(dst, "prompt_tokens"), v.PromptTokens)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "completion_tokens"), v.CompletionTokens)
	dst = msgp.AppendFloat(msgp.AppendStr(dst, "cost_usd"), v.CostUSD)
	if quality, ok := v.QualityMean.Get(); ok || nils {
		dst = appendMean(msgp.AppendStr(dst, "quality_mean"), quality, ok)
	}
	if some || nils {
		dst = msgp.AppendMapLen(msgp.AppendStr(dst, "latency_ms"), len(latencyFields))
		for i, f := range v.LatencyMS.fields() {
			dst = appendMean(msgp.AppendStr(dst, latencyFields[i]), *f, some)
		}
	}
	return dst
}

// measures is how many fields appendMeasures appends without nils.
func (v *Result) measures() int {
	n := 5
	if v.Count > 0 {
		n += 2
	}
	if _, ok := v.QualityMean.Get(); ok {
		n++
	}
	return n
}

// appendMean appends a number, or nil if there is none.
func appendMean(dst []byte, v float64, ok bool) []byte {
	if !ok {
		return msgp.AppendNil(dst)
	}
	return msgp.AppendFloat(dst, v)
}

func (resultCodec) Decode(b []byte) (Result, error) {
	var v Result
	d := newDecoder(b, &resultSchema, false)
	for d.next() {
		switch d.name {
		case "key":
			v.Key = d.str(0)
		case "window_start":
			v.WindowStart = d.int(1)
		case "window_end":
			v.WindowEnd = d.int(2)
		case "pane":
			if err := v.Pane.UnmarshalText([]byte(d.str(3))); err != nil {
				d.fail(err)
			}
		case "sequence":
			v.Sequence = d.int(4)
		case "final":
			v.Final = d.bool(5)
		case "retracted":
			v.Retracted = d.bool(6)
		case "count":
			v.Count = d.int(7)
		case "errors":
			v.Errors = d.int(8)
		case "error_rate":
			v.ErrorRate = d.optionalFloat(9).Or(0)
		case "prompt_tokens":
			v.PromptTokens = d.int(10)
		case "completion_tokens":
			v.CompletionTokens = d.int(11)
		case "cost_usd":
			v.CostUSD = d.float(12)
		case "quality_mean":
			v.QualityMean = d.optionalFloat(13)
		case "latency_ms":
			d.latency(14, &v.LatencyMS)
		default:
			d.unknown()
		}
	}
	if err := d.finish(); err != nil {
		return Result{}, err
	}
	return v, nil
}

// latency reads the map of a Latency; what is not in it stays 0.
func (d *decoder) latency(i int, l *Latency) {
	d.mark(i)
	for range d.r.MapLen() {
		switch name := d.r.Str(); name {
		case "mean":
			l.Mean = d.mean()
		case "p50":
			l.P50 = d.mean()
		case "p95":
			l.P95 = d.mean()
		case "p99":
			l.P99 = d.mean()
		case "max":
			l.Max = d.mean()
		default:
			d.r.Skip()
		}
	}
}

// mean reads what appendMean writes.
func (d *decoder) mean() float64 {
	if d.r.Nil() {
		return 0
	}
	return d.r.Float()
}
