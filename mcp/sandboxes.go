package mcp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"daytona/api"
	daytona "daytona/sdk/go"
)

type createInput struct {
	ID                  string              `json:"id,omitempty" jsonschema:"ID of the sandbox. If given, that sandbox is used again, and none is made"`
	Name                string              `json:"name,omitempty" jsonschema:"Name of the sandbox"`
	Target              string              `json:"target,omitempty" jsonschema:"Target region of the sandbox (default: us)"`
	Snapshot            string              `json:"snapshot,omitempty" jsonschema:"Snapshot of the sandbox. Don't specify unless it was asked for"`
	User                string              `json:"user,omitempty" jsonschema:"User associated with the sandbox"`
	Env                 map[string]string   `json:"env,omitempty" jsonschema:"Environment variables for the sandbox"`
	Labels              map[string]string   `json:"labels,omitempty" jsonschema:"Labels for the sandbox"`
	Public              bool                `json:"public,omitempty" jsonschema:"Whether the sandbox's previews can be seen without a token"`
	CPU                 float64             `json:"cpu,omitempty" jsonschema:"CPU cores; only with buildInfo"`
	GPU                 float64             `json:"gpu,omitempty" jsonschema:"GPU units; only with buildInfo"`
	Memory              float64             `json:"memory,omitempty" jsonschema:"Memory in GB; only with buildInfo"`
	Disk                float64             `json:"disk,omitempty" jsonschema:"Disk space in GB; only with buildInfo"`
	AutoStopInterval    *float64            `json:"autoStopInterval,omitempty" jsonschema:"Auto-stop interval in minutes (0 means disabled)"`
	AutoArchiveInterval *float64            `json:"autoArchiveInterval,omitempty" jsonschema:"Auto-archive interval in minutes (0 means the maximum interval will be used)"`
	AutoDeleteInterval  *float64            `json:"autoDeleteInterval,omitempty" jsonschema:"Auto-delete interval in minutes (negative value means disabled, 0 means delete immediately upon stopping)"`
	Volumes             []api.SandboxVolume `json:"volumes,omitempty" jsonschema:"Volumes to mount"`
	BuildInfo           *buildInput         `json:"buildInfo,omitempty" jsonschema:"Image to build for the sandbox, instead of a snapshot"`
	NetworkBlockAll     bool                `json:"networkBlockAll,omitempty" jsonschema:"Whether to block all network access"`
	NetworkAllowList    string              `json:"networkAllowList,omitempty" jsonschema:"Comma-separated IPv4 ranges that may be reached"`
}

type buildInput struct {
	DockerfileContent string   `json:"dockerfileContent,omitempty" jsonschema:"Text of the Dockerfile"`
	ContextHashes     []string `json:"contextHashes,omitempty" jsonschema:"Hashes of build contexts that were uploaded"`
}

func createSchema(s *jsonschema.Schema) {
	limit := func(name string, low, high *float64, def string) {
		p := s.Properties[name]
		p.Types, p.Type = nil, "number"
		p.Minimum, p.Maximum = low, high
		if def != "" {
			p.Default = []byte(def)
		}
	}
	limit("cpu", nil, new(4.0), "")
	limit("gpu", nil, new(1.0), "")
	limit("memory", nil, new(8.0), "")
	limit("disk", nil, new(10.0), "")
	limit("autoStopInterval", new(0.0), nil, "15")
	limit("autoArchiveInterval", new(0.0), nil, "10080")
	limit("autoDeleteInterval", nil, nil, "-1")
	s.Properties["target"].Default = []byte(`"us"`)
}

// only is the input of tools that need no more than a sandbox.
type only struct {
	ID string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
}

type sandboxOutput struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	State    string            `json:"state"`
	Snapshot string            `json:"snapshot,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

type listOutput struct {
	Sandboxes []sandboxOutput `json:"sandboxes"`
}

type previewInput struct {
	ID          string  `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Port        float64 `json:"port" jsonschema:"Port to expose"`
	Description string  `json:"description,omitempty" jsonschema:"Description of the service"`
	CheckServer bool    `json:"checkServer,omitempty" jsonschema:"Check that a server is running on the port"`
}

type previewOutput struct {
	URL   string `json:"url"`
	Token string `json:"token" jsonschema:"To be sent as header X-Daytona-Preview-Token, unless the sandbox is public"`
	Port  int    `json:"port"`
}

func (k *keeper) sandboxTools(s *sdk.Server) {
	tool(s, "create_sandbox", "Create Sandbox", "Create a new sandbox with Daytona", adds, createSchema, k.create)
	tool(s, "destroy_sandbox", "Destroy Sandbox", "Destroy a sandbox with Daytona, with everything in it", repeating, nil,
		func(ctx context.Context, _ *sdk.CallToolRequest, in only) (*sdk.CallToolResult, any, error) {
			if err := required(in.ID, "sandbox ID is required"); err != nil {
				return nil, nil, err
			}
			sb, err := k.client.Get(ctx, in.ID)
			if err == nil {
				err = sb.Delete(ctx)
			}
			if err != nil {
				return nil, nil, err
			}
			return text("Destroyed sandbox with ID %s", in.ID), nil, nil
		})
	tool(s, "list_sandboxes", "List Sandboxes", "List the sandboxes that there are", reads, nil,
		func(ctx context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, listOutput, error) {
			out := listOutput{Sandboxes: []sandboxOutput{}}
			for item, err := range k.client.List(ctx, daytona.Filter{}) {
				if err != nil {
					return nil, out, err
				}
				box := sandboxOutput{ID: item.ID, Name: item.Name, State: string(item.State), Labels: item.Labels}
				if item.Snapshot != nil {
					box.Snapshot = *item.Snapshot
				}
				out.Sandboxes = append(out.Sandboxes, box)
			}
			return asJSON(out.Sandboxes), out, nil
		})
	tool(s, "stop_sandbox", "Stop Sandbox", "Stop a sandbox: its files stay, and the next tool that works in it starts it again", repeating, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in only) (*sdk.CallToolResult, any, error) {
			if err := required(in.ID, "sandbox ID is required"); err != nil {
				return nil, nil, err
			}
			sb, err := k.client.Get(ctx, in.ID)
			if err == nil {
				defer progress(ctx, req, "stopping the sandbox")()
				err = sb.Stop(ctx, false)
			}
			return text("Stopped sandbox %s", in.ID), nil, err
		})
	tool(s, "preview_link", "Preview Link", "Generate a link by which a web application in the sandbox can be seen from outside", reads,
		func(s *jsonschema.Schema) {
			s.Properties["port"].Minimum, s.Properties["port"].Maximum = new(1.0), new(65535.0)
		}, k.preview)
}

func (k *keeper) create(ctx context.Context, req *sdk.CallToolRequest, in createInput) (*sdk.CallToolResult, sandboxOutput, error) {
	var out sandboxOutput
	if in.ID != "" {
		sb, err := k.sandbox(ctx, req, in.ID)
		if err != nil {
			return nil, out, err
		}
		return text("Reusing existing sandbox %s", sb.ID), describe(sb), nil
	}
	p := daytona.CreateParams{
		Name: in.Name, Snapshot: in.Snapshot, User: in.User, Env: in.Env, Labels: in.Labels, Public: in.Public,
		AutoStop: whole(in.AutoStopInterval), AutoArchive: whole(in.AutoArchiveInterval), AutoDelete: whole(in.AutoDeleteInterval),
		Volumes: in.Volumes, NetworkBlockAll: in.NetworkBlockAll, NetworkAllowList: in.NetworkAllowList,
	}
	if in.Target != "us" { // that is the name of "wherever sandboxes are"
		p.Target = in.Target
	}
	resources := daytona.Resources{CPU: int(in.CPU), GPU: int(in.GPU), Memory: int(in.Memory), Disk: int(in.Disk)}
	switch {
	case in.BuildInfo != nil && in.BuildInfo.DockerfileContent != "":
		if in.Snapshot != "" {
			return nil, out, errors.New("give a snapshot or buildInfo, not both")
		}
		p.Image = daytona.ImageFromText(in.BuildInfo.DockerfileContent, in.BuildInfo.ContextHashes...)
		p.Resources = resources
	case resources != daytona.Resources{}:
		return nil, out, errors.New("cpu, gpu, memory and disk can be chosen only together with buildInfo: a snapshot has its own")
	}
	done := progress(ctx, req, "creating a sandbox")
	defer done()
	sb, err := k.client.Create(ctx, p)
	if err != nil {
		if sb != nil {
			err = fmt.Errorf("sandbox %s: %w", sb.ID, err)
		}
		return nil, out, err
	}
	return text("Created new sandbox %s", sb.ID), describe(sb), nil
}

func describe(sb *daytona.Sandbox) sandboxOutput {
	info := sb.Info()
	out := sandboxOutput{ID: info.ID, Name: info.Name, State: string(info.State), Labels: info.Labels}
	if info.Snapshot != nil {
		out.Snapshot = *info.Snapshot
	}
	return out
}

func whole(f *float64) *int {
	if f == nil {
		return nil
	}
	return new(int(*f))
}

// answersWithin is how long a server in a sandbox may take to answer a check.
const answersWithin = 10 * time.Second

func (k *keeper) preview(ctx context.Context, req *sdk.CallToolRequest, in previewInput) (*sdk.CallToolResult, previewOutput, error) {
	port := int(in.Port)
	out := previewOutput{Port: port}
	if port < 1 || port > 65535 {
		return nil, out, errors.New("port parameter is required: a number from 1 to 65535")
	}
	sb, err := k.sandbox(ctx, req, in.ID)
	if err != nil {
		return nil, out, err
	}
	if in.CheckServer {
		if err := checkServer(ctx, sb, port); err != nil {
			return nil, out, err
		}
	}
	link, err := sb.PreviewURL(ctx, port)
	if err != nil {
		return nil, out, err
	}
	out.URL, out.Token = link.URL, link.Token
	return text("Preview link generated: %s", link.URL), out, nil
}

// checkServer says what runs instead when nothing answers at a port.
func checkServer(ctx context.Context, sb *daytona.Sandbox, port int) error {
	ports, err := sb.Ports(ctx)
	if err == nil {
		for _, p := range ports {
			if p == port {
				return nil
			}
		}
	}
	probe := fmt.Sprintf("python3 -c 'import socket; socket.create_connection((\"localhost\", %d), 5)' 2>&1 || curl -s -o /dev/null http://localhost:%d", port, port)
	if run, err := sb.Process.Run(ctx, probe, daytona.WithTimeout(answersWithin)); err == nil && run.ExitCode == 0 {
		return nil
	}
	running := ""
	if run, err := sb.Process.Run(ctx, "ps aux 2>/dev/null || ps", daytona.WithTimeout(answersWithin)); err == nil {
		running = strings.TrimSpace(run.Output)
	}
	var open []string
	for _, p := range ports {
		open = append(open, strconv.Itoa(p))
	}
	return fmt.Errorf("no server answers on port %d. Open ports: %s. It must listen on 0.0.0.0 or localhost. What runs:\n%s", port, strings.Join(open, ", "), running)
}
