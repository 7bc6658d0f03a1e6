package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/swaggest/jsonschema-go"
	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"
	"go.yaml.in/yaml/v3"

	"daytona/api"
)

// buildDocument makes the OpenAPI document of the route table and the types of
// package api.
func buildDocument() ([]byte, error) {
	reflector := openapi31.NewReflector()
	reflector.AddTypeMapping(api.Time{}, time.Time{})
	reflector.AddTypeMapping(api.OneOrMany{}, []string{})
	reflector.DefaultOptions = append(reflector.DefaultOptions,
		jsonschema.InterceptDefName(func(t reflect.Type, _ string) string { return schemaName(t) }),
		jsonschema.InterceptProp(requirePresent),
	)
	spec := reflector.SpecEns()
	spec.Info.WithTitle("Daytona").WithVersion("1").WithDescription("Sandboxes in which code runs.")
	spec.WithServers(openapi31.Server{URL: basePath})
	spec.ComponentsEns().WithSecuritySchemesItem("bearer", openapi31.SecuritySchemeOrReference{
		SecurityScheme: &openapi31.SecurityScheme{HTTPBearer: &openapi31.SecuritySchemeHTTPBearer{Scheme: "bearer"}},
	})
	for _, rt := range routes() {
		if err := describe(reflector, rt); err != nil {
			return nil, fmt.Errorf("%s %s: %w", rt.method, rt.path, err)
		}
	}
	return spec.MarshalYAML()
}

func describe(reflector *openapi31.Reflector, rt route) error {
	op, err := reflector.NewOperationContext(rt.method, rt.path)
	if err != nil {
		return err
	}
	op.SetID(rt.id)
	op.SetSummary(rt.doc)
	op.SetTags(strings.Split(strings.TrimPrefix(rt.path, "/"), "/")[0])
	if !rt.access.open {
		op.AddSecurity("bearer")
	}
	if p := rt.access.permission; p != "" {
		op.SetDescription("Needs the permission " + string(p) + ".")
	}
	for _, part := range []any{pathStruct(rt.path), rt.query, rt.header, rt.body} {
		if part != nil {
			op.AddReqStructure(part)
		}
	}
	op.AddRespStructure(rt.answer, openapi.WithHTTPStatus(rt.ok()))
	refusals := rt.errors
	if !rt.access.open {
		refusals = append([]int{http.StatusUnauthorized}, refusals...)
		if rt.access.permission != "" && !slices.Contains(refusals, http.StatusForbidden) {
			refusals = append(refusals, http.StatusForbidden)
		}
	}
	for _, status := range refusals {
		var body any = api.Error{}
		if status == http.StatusServiceUnavailable && strings.HasPrefix(rt.path, "/health") {
			body = api.Health{}
		}
		op.AddRespStructure(body, openapi.WithHTTPStatus(status))
	}
	return reflector.AddOperation(op)
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// pathStruct makes a struct type with a field for each parameter of a path, which
// is how the generator wants them.
func pathStruct(path string) any {
	var fields []reflect.StructField
	for _, match := range pathParameter.FindAllStringSubmatch(path, -1) {
		t := reflect.TypeFor[string]()
		switch match[1] {
		case "port", "interval":
			t = reflect.TypeFor[int]()
		case "isPublic":
			t = reflect.TypeFor[bool]()
		}
		fields = append(fields, reflect.StructField{
			Name: strings.ToUpper(match[1][:1]) + match[1][1:], Type: t,
			Tag: reflect.StructTag(fmt.Sprintf(`path:"%s"`, match[1])),
		})
	}
	if fields == nil {
		return nil
	}
	return reflect.New(reflect.StructOf(fields)).Elem().Interface()
}

// schemaNames are the published names of types that are called otherwise in Go.
var schemaNames = map[reflect.Type]string{
	reflect.TypeFor[api.CreateAPIKey]():       "CreateApiKey",
	reflect.TypeFor[api.APIKeyResponse]():     "ApiKeyResponse",
	reflect.TypeFor[api.APIKey]():             "ApiKeyList",
	reflect.TypeFor[api.Snapshot]():           "SnapshotDto",
	reflect.TypeFor[api.PortPreviewURL]():     "PortPreviewUrl",
	reflect.TypeFor[api.ToolboxProxyURL]():    "ToolboxProxyUrl",
	reflect.TypeFor[api.Configuration]():      "DaytonaConfiguration",
	reflect.TypeFor[api.OIDCConfig]():         "OidcConfig",
	reflect.TypeFor[api.Health]():             "HealthCheck",
	reflect.TypeFor[api.PaginatedSandboxes](): "PaginatedSandboxes",
}

func schemaName(t reflect.Type) string {
	if name, ok := schemaNames[t]; ok {
		return name
	}
	return t.Name()
}

// requirePresent marks members as required that are always sent, or must be.
func requirePresent(p jsonschema.InterceptPropParams) error {
	if !p.Processed || p.ParentSchema == nil {
		return nil
	}
	if _, ok := p.Field.Tag.Lookup("json"); !ok {
		return nil
	}
	if _, optional := jsonName(p.Field); !optional && !slices.Contains(p.ParentSchema.Required, p.Name) {
		p.ParentSchema.Required = append(p.ParentSchema.Required, p.Name)
	}
	return nil
}

// documentJSON is the published document in JSON.
var documentJSON = sync.OnceValues(func() ([]byte, error) {
	var document any
	if err := yaml.Unmarshal(api.OpenAPI, &document); err != nil {
		return nil, err
	}
	return json.Marshal(document)
})

func (a *API) openapiJSON(w http.ResponseWriter, r *http.Request) {
	document, err := documentJSON()
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(document)
}

func (a *API) openapiYAML(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
	_, _ = w.Write(api.OpenAPI)
}
