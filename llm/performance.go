package llm

import "github.com/millrace/millrace/internal/msgp"

// Performance tells how one request was served (PerformanceMetrics).
type Performance struct {
	Event
	// LatencyMS is the time from request to complete response, in
	// milliseconds; 0 or more.
	LatencyMS float64
	// PromptTokens and CompletionTokens are what the model read and wrote;
	// 0 or more.
	PromptTokens, CompletionTokens int64
	// CostUSD is the price of the request in US dollars, 0 or more; absent if
	// it is not known or was not billed.
	CostUSD Optional[float64]
	// Error says that the request failed.
	Error bool
	// Quality is a judgement of the response from 0 (useless) to 1 (perfect);
	// absent if nobody judged it.
	Quality Optional[float64]
}

// PerformanceTime returns the event time, in Unix milliseconds.
func PerformanceTime(v Performance) int64 { return v.Timestamp }

// Validate reports the first field that is out of its range.
func (v *Performance) Validate() error {
	c := checker{name: performanceSchema.name}
	c.event(&v.Event)
	c.amount("latency_ms", v.LatencyMS)
	c.notNegative("prompt_tokens", v.PromptTokens)
	c.notNegative("completion_tokens", v.CompletionTokens)
	c.amount("cost_usd", v.CostUSD.Or(0))
	c.fraction("quality", v.Quality.Or(0))
	return c.err
}

var performanceSchema = schema{
	name: "performance",
	fields: []string{"timestamp", "request_id", "session_id", "model",
		"latency_ms", "prompt_tokens", "completion_tokens", "cost_usd", "error", "quality"},
	required: eventRequired | 0b0111<<firstOwnField | 1<<(firstOwnField+4),
}

type performanceCodec struct{ strict bool }

func (c performanceCodec) Append(dst []byte, v Performance) ([]byte, error) {
	if c.strict {
		if err := v.Validate(); err != nil {
			return dst, err
		}
	}
	dst = msgp.AppendMapLen(dst, 7+present(v.SessionID.ok, v.CostUSD.ok, v.Quality.ok))
	dst = appendEvent(dst, &v.Event)
	dst = msgp.AppendFloat(msgp.AppendStr(dst, "latency_ms"), v.LatencyMS)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "prompt_tokens"), v.PromptTokens)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "completion_tokens"), v.CompletionTokens)
	if v.CostUSD.ok {
		dst = msgp.AppendFloat(msgp.AppendStr(dst, "cost_usd"), v.CostUSD.value)
	}
	dst = msgp.AppendBool(msgp.AppendStr(dst, "error"), v.Error)
	if v.Quality.ok {
		dst = msgp.AppendFloat(msgp.AppendStr(dst, "quality"), v.Quality.value)
	}
	return dst, nil
}

func (c performanceCodec) Decode(b []byte) (Performance, error) {
	var v Performance
	if o := (ordered{b}); o.performance(&v) {
		if c.strict {
			if err := v.Validate(); err != nil {
				return Performance{}, err
			}
		}
		return v, nil
	}
	return c.decode(b)
}

// decode reads the fields in any order.
func (c performanceCodec) decode(b []byte) (Performance, error) {
	var v Performance
	d := newDecoder(b, &performanceSchema, c.strict)
	for d.next() {
		switch d.name {
		case "latency_ms":
			v.LatencyMS = d.float(firstOwnField)
		case "prompt_tokens":
			v.PromptTokens = d.int(firstOwnField + 1)
		case "completion_tokens":
			v.CompletionTokens = d.int(firstOwnField + 2)
		case "cost_usd":
			v.CostUSD = d.optionalFloat(firstOwnField + 3)
		case "error":
			v.Error = d.bool(firstOwnField + 4)
		case "quality":
			v.Quality = d.optionalFloat(firstOwnField + 5)
		default:
			d.event(&v.Event)
		}
	}
	err := d.finish()
	if err == nil && c.strict {
		err = v.Validate()
	}
	if err != nil {
		return Performance{}, err
	}
	return v, nil
}
