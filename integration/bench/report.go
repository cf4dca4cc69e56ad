package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/usage"
)

// Report is what a contender prints as the last line of its output. Processor
// time and memory are the whole process's, from its start to the last commit.
type Report struct {
	Contender           string  `json:"contender"`
	Records             int64   `json:"records"`
	Seconds             float64 `json:"seconds"`
	RecordsPerSecond    float64 `json:"records_per_second"`
	CPUSeconds          float64 `json:"cpu_seconds"`
	RecordsPerCPUSecond float64 `json:"records_per_cpu_second"`
	PeakRSSBytes        int64   `json:"peak_rss_bytes"`
	Results             int64   `json:"results"`
	RestoredRecords     int64   `json:"restored_records"`
	RestoreSeconds      float64 `json:"restore_seconds"`
	// AllocsPerRecord is 0 for a contender that cannot tell.
	AllocsPerRecord float64 `json:"allocs_per_record"`
}

// parseReport reads the last line of a contender's output.
func parseReport(output []byte) (Report, error) {
	output = bytes.TrimSpace(output)
	line := output[bytes.LastIndexByte(output, '\n')+1:]
	var r Report
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("bench: the last line %.200q is no report: %w", line, err)
	}
	return r, nil
}

// MeasureFloor runs one of the floors and reports what it took.
func MeasureFloor(name string, run func() (map[int32]totals, error)) (Report, map[int32]totals, error) {
	began := time.Now()
	sums, err := run()
	if err != nil {
		return Report{}, nil, err
	}
	r := Report{
		Contender: name, Seconds: time.Since(began).Seconds(),
		CPUSeconds: usage.ProcessorTime().Seconds(), PeakRSSBytes: usage.PeakMemory(),
	}
	for _, t := range sums {
		r.Records += t.events()
		for range t.results {
			r.Results++
		}
	}
	r.RecordsPerSecond = float64(r.Records) / r.Seconds
	r.RecordsPerCPUSecond = float64(r.Records) / r.CPUSeconds
	return r, sums, nil
}

// median returns the middle of what f says of some reports, the mean of the two
// middle ones if there are two; 0 of none.
func median(reports []Report, f func(Report) float64) float64 {
	return middle(mapped(reports, f))
}

// middle returns the middle of some values, the mean of the two middle ones if there
// are two; 0 of none.
func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return 0
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}

// spread returns the least and the greatest of what f says.
func spread(reports []Report, f func(Report) float64) (least, greatest float64) {
	for i, r := range reports {
		v := f(r)
		if i == 0 {
			least, greatest = v, v
		}
		least, greatest = min(least, v), max(greatest, v)
	}
	return least, greatest
}

// What the page tells of a report.
func perCPUSecond(r Report) float64    { return r.RecordsPerCPUSecond }
func perSecond(r Report) float64       { return r.RecordsPerSecond }
func peakMiB(r Report) float64         { return float64(r.PeakRSSBytes) / (1 << 20) }
func allocsPerRecord(r Report) float64 { return r.AllocsPerRecord }
func restoredPerSecond(r Report) float64 {
	if r.RestoreSeconds == 0 {
		return 0
	}
	return float64(r.RestoredRecords) / r.RestoreSeconds
}
