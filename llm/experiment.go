package llm

import (
	"math"

	"github.com/millrace/millrace/internal/msgp"
)

// Experiment is one measurement of an experiment (ExperimentResult).
type Experiment struct {
	Event
	// Experiment and Variant name what was tried.
	Experiment, Variant string
	// Metric names what was measured; its unit is the experiment's.
	Metric string
	// Value is the measured number; finite.
	Value float64
}

// ExperimentTime returns the event time, in Unix milliseconds.
func ExperimentTime(v Experiment) int64 { return v.Timestamp }

// Validate reports the first field that is out of its range.
func (v *Experiment) Validate() error {
	c := checker{name: experimentSchema.name}
	c.event(&v.Event)
	c.notEmpty("experiment", v.Experiment)
	c.notEmpty("variant", v.Variant)
	c.notEmpty("metric", v.Metric)
	if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
		c.fail("value", v.Value, "a finite number")
	}
	return c.err
}

var experimentSchema = schema{
	name: "experiment",
	fields: []string{"timestamp", "request_id", "session_id", "model",
		"experiment", "variant", "metric", "value"},
	required: eventRequired | 0b1111<<firstOwnField,
}

type experimentCodec struct{ strict bool }

func (c experimentCodec) Append(dst []byte, v Experiment) ([]byte, error) {
	if c.strict {
		if err := v.Validate(); err != nil {
			return dst, err
		}
	}
	dst = msgp.AppendMapLen(dst, 7+present(v.SessionID.ok))
	dst = appendEvent(dst, &v.Event)
	dst = msgp.AppendStr(msgp.AppendStr(dst, "experiment"), v.Experiment)
	dst = msgp.AppendStr(msgp.AppendStr(dst, "variant"), v.Variant)
	dst = msgp.AppendStr(msgp.AppendStr(dst, "metric"), v.Metric)
	return msgp.AppendFloat(msgp.AppendStr(dst, "value"), v.Value), nil
}

func (c experimentCodec) Decode(b []byte) (Experiment, error) {
	var v Experiment
	d := newDecoder(b, &experimentSchema, c.strict)
	for d.next() {
		switch d.name {
		case "experiment":
			v.Experiment = d.str(firstOwnField)
		case "variant":
			v.Variant = d.str(firstOwnField + 1)
		case "metric":
			v.Metric = d.str(firstOwnField + 2)
		case "value":
			v.Value = d.float(firstOwnField + 3)
		default:
			d.event(&v.Event)
		}
	}
	err := d.finish()
	if err == nil && c.strict {
		err = v.Validate()
	}
	if err != nil {
		return Experiment{}, err
	}
	return v, nil
}
