package query

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// openAPI returns the OpenAPI 3.0 document of the routes. The schemas are those
// of the answers' Go types, so that they cannot differ.
func openAPI(routes []*route) ([]byte, error) {
	schemas := schemas{}
	failed := map[string]any{
		"description": "The error.",
		"content":     content("application/json", schemas.of(reflect.TypeFor[errorAnswer]())),
	}
	paths := map[string]any{}
	for _, rt := range routes {
		responses := map[string]any{"200": rt.response(schemas)}
		for _, status := range slices.Concat([]int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusInternalServerError}, rt.fails) {
			responses[strconv.Itoa(status)] = map[string]any{"$ref": "#/components/responses/Error"}
		}
		operation := map[string]any{"operationId": rt.id, "summary": rt.summary, "responses": responses}
		var params []any
		for _, p := range rt.params {
			in := "query"
			if p.inPath {
				in = "path"
			}
			params = append(params, map[string]any{"name": p.name, "in": in, "required": p.must, "schema": p.schema, "description": p.about})
		}
		if params != nil {
			operation["parameters"] = params
		}
		method := "get"
		if rt.method != "" {
			method = strings.ToLower(rt.method)
			operation["security"] = []any{map[string]any{"token": []any{}}}
		}
		paths[rt.path] = map[string]any{method: operation}
	}
	b, err := json.MarshalIndent(map[string]any{
		"openapi": "3.0.3",
		"info": map[string]any{
			"title":       "Millrace queries",
			"version":     "1",
			"description": "Committed state of a stream application. Any instance answers for all of them. Clients ignore fields that they do not know.",
		},
		"paths": paths,
		"components": map[string]any{
			"schemas":   schemas,
			"responses": map[string]any{"Error": failed},
			"securitySchemes": map[string]any{"token": map[string]any{
				"type": "http", "scheme": "bearer", "description": "The token that the instance was given for orders.",
			}},
		},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("query: OpenAPI document: %w", err)
	}
	return append(b, '\n'), nil
}

func content(contentType string, schema any) map[string]any {
	return map[string]any{contentType: map[string]any{"schema": schema}}
}

// response describes what a 200 holds.
func (rt *route) response(s schemas) map[string]any {
	text := map[string]any{"type": "string"}
	r := map[string]any{"description": rt.summary}
	if rt.answer == nil {
		r["content"] = content("text/plain", text)
		return r
	}
	forms := content("application/json", s.of(reflect.TypeOf(rt.answer)))
	if slices.Contains(rt.queryParams(), "format") {
		forms["text/plain"] = map[string]any{"schema": text}
		forms["text/vnd.graphviz"] = map[string]any{"schema": text}
	}
	r["content"] = forms
	return r
}

// schemas are those of struct types by their names.
type schemas map[string]any

// of returns the schema of what encoding/json writes of a t.
func (s schemas) of(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	case t == reflect.TypeFor[[]byte]():
		return map[string]any{"type": "string", "format": "byte"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		schema := s.of(t.Elem())
		schema["nullable"] = true
		return schema
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int32:
		return map[string]any{"type": "integer", "format": "int32"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer", "format": "int64"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Struct:
		name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		if s[name] == nil {
			object := map[string]any{"type": "object"}
			s[name] = object // before its fields: they may lead back here
			properties, required := map[string]any{}, []string{}
			s.fields(t, properties, &required)
			object["properties"] = properties
			if len(required) > 0 {
				object["required"] = required
			}
		}
		return map[string]any{"$ref": "#/components/schemas/" + name}
	}
	return map[string]any{"type": "object"}
}

// fields adds the fields of a struct, those of embedded ones among them.
func (s schemas) fields(t reflect.Type, properties map[string]any, required *[]string) {
	for f := range t.Fields() {
		if f.Anonymous {
			s.fields(f.Type, properties, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := s.of(f.Type)
		optional := strings.Contains(options, "omitempty")
		if ref := schema["$ref"]; ref != nil {
			// What stands beside $ref is ignored, so it goes one level down.
			schema = map[string]any{"allOf": []any{map[string]any{"$ref": ref}}}
		}
		if optional {
			delete(schema, "nullable")
		} else {
			*required = append(*required, name)
		}
		if f.Type.Kind() == reflect.Slice && schema["type"] == "array" && !optional {
			schema["nullable"] = true
		}
		if about := describe(name); about != "" {
			schema["description"] = about
		}
		properties[name] = schema
	}
}

// describe says what a field of that name means, in whatever answer it stands.
func describe(field string) string {
	switch field {
	case "time":
		return "The greatest event time in the value, in Unix milliseconds."
	case "final":
		return "Nothing will change the value of the window any more."
	case "start", "end":
		return "In Unix milliseconds; the end is exclusive."
	case "start_time", "end_time":
		return "RFC 3339, in UTC."
	case "next":
		return "On a page: the cursor of the next one; absent on the last. On an input: the offset behind the last record processed."
	case "stale":
		return "State that is behind its changelog has been read."
	case "lag":
		return "The tasks whose state is behind."
	case "remaining":
		return "Changelog offsets that are yet to be read; -1 if that is not known yet."
	case "watermark":
		return "In Unix milliseconds: no on-time event earlier than it is to come. Null before the first record and at the end of a bounded run."
	case "watermark_time":
		return "RFC 3339, or -infinity before the first record, or infinity at the end of a bounded run."
	case "held_back_by":
		return "The inputs that the task's watermark, and so each open window, waits for."
	case "waiting":
		return "Upstream tasks whose watermark is waited for."
	case "idle":
		return "The input has nothing to say for now and holds no window back."
	case "position":
		return "For instances among themselves."
	case "code":
		return "Stable, for programs."
	case "missing":
		return "Instances that did not answer."
	case "tasks":
		return "Tasks, or how many there are."
	case "endpoint", "owner":
		return "The URL of an instance."
	}
	return ""
}
