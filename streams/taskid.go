package streams

import "github.com/millrace/millrace/processors"

// TaskID names a task: one sub-topology on one partition. It is the processors
// package's type under the name that users of an Instance need.
type TaskID = processors.TaskID
