package llm

import "github.com/millrace/millrace/codec"

// The codecs of the events. The plain ones are lenient: they pass over fields
// that the type does not have, take the last of a field that comes twice, and
// leave ranges to the aggregate. A value of the wrong type and a required field
// that is missing are errors all the same. The strict ones also refuse unknown
// and repeated fields, floats for integers, and values out of range; when they
// encode, too.
//
// These write MessagePack: a map with the fields' names. Decoded strings alias
// the input.
var (
	PerformanceCodec codec.Codec[Performance] = performanceCodec{}
	FeedbackCodec    codec.Codec[Feedback]    = feedbackCodec{}
	ResponseCodec    codec.Codec[Response]    = responseCodec{}
	HealthCodec      codec.Codec[Health]      = healthCodec{}
	ExperimentCodec  codec.Codec[Experiment]  = experimentCodec{}

	StrictPerformanceCodec codec.Codec[Performance] = performanceCodec{strict: true}
	StrictFeedbackCodec    codec.Codec[Feedback]    = feedbackCodec{strict: true}
	StrictResponseCodec    codec.Codec[Response]    = responseCodec{strict: true}
	StrictHealthCodec      codec.Codec[Health]      = healthCodec{strict: true}
	StrictExperimentCodec  codec.Codec[Experiment]  = experimentCodec{strict: true}
)

// The same in JSON: an object with the same names, where request_id is a UUID
// in its text form. Infinities and NaN have no JSON and do not encode.
var (
	PerformanceJSON codec.Codec[Performance] = jsonCodec[Performance]{PerformanceCodec}
	FeedbackJSON    codec.Codec[Feedback]    = jsonCodec[Feedback]{FeedbackCodec}
	ResponseJSON    codec.Codec[Response]    = jsonCodec[Response]{ResponseCodec}
	HealthJSON      codec.Codec[Health]      = jsonCodec[Health]{HealthCodec}
	ExperimentJSON  codec.Codec[Experiment]  = jsonCodec[Experiment]{ExperimentCodec}

	StrictPerformanceJSON codec.Codec[Performance] = jsonCodec[Performance]{StrictPerformanceCodec}
	StrictFeedbackJSON    codec.Codec[Feedback]    = jsonCodec[Feedback]{StrictFeedbackCodec}
	StrictResponseJSON    codec.Codec[Response]    = jsonCodec[Response]{StrictResponseCodec}
	StrictHealthJSON      codec.Codec[Health]      = jsonCodec[Health]{StrictHealthCodec}
	StrictExperimentJSON  codec.Codec[Experiment]  = jsonCodec[Experiment]{StrictExperimentCodec}
)
