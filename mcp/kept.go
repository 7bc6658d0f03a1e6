package mcp

import (
	"context"
	"errors"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"daytona/api"
	daytona "daytona/sdk/go"
)

// snapshotOutput is a snapshot; memory and disk are in GiB.
type snapshotOutput struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	CPU    int    `json:"cpu"`
	Memory int    `json:"memory"`
	Disk   int    `json:"disk"`
}

type snapshotsOutput struct {
	Snapshots []snapshotOutput `json:"snapshots"`
}

type newSnapshotInput struct {
	Name       string   `json:"name" jsonschema:"Name of the snapshot"`
	Image      string   `json:"image,omitempty" jsonschema:"Image in a registry, with a tag that is not latest"`
	Dockerfile string   `json:"dockerfile,omitempty" jsonschema:"Text of a Dockerfile to build, instead of an image"`
	Entrypoint []string `json:"entrypoint,omitempty" jsonschema:"Program that sandboxes run beside everything else; only with image"`
	CPU        int      `json:"cpu,omitempty" jsonschema:"CPU cores of its sandboxes"`
	Memory     int      `json:"memory,omitempty" jsonschema:"Memory of its sandboxes in GB"`
	Disk       int      `json:"disk,omitempty" jsonschema:"Disk space of its sandboxes in GB"`
}

type nameInput struct {
	Name string `json:"name" jsonschema:"Name or ID"`
}

type volumeOutput struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State string `json:"state"`
}

type volumesOutput struct {
	Volumes []volumeOutput `json:"volumes"`
}

// keptTools are for what is there beside sandboxes, and outlives them.
func (k *keeper) keptTools(s *sdk.Server) {
	tool(s, "list_snapshots", "List Snapshots", "List the snapshots of which sandboxes can be made", reads, nil,
		func(ctx context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, snapshotsOutput, error) {
			out := snapshotsOutput{Snapshots: []snapshotOutput{}}
			for snap, err := range k.client.Snapshots.List(ctx) {
				if err != nil {
					return nil, out, err
				}
				out.Snapshots = append(out.Snapshots, describeSnapshot(snap))
			}
			return asJSON(out.Snapshots), out, nil
		})
	tool(s, "create_snapshot", "Create Snapshot", "Create a snapshot, of an image in a registry or of a Dockerfile, and wait until sandboxes can be made of it. When the build fails, its log is returned", adds, nil, k.createSnapshot)
	tool(s, "delete_snapshot", "Delete Snapshot", "Delete a snapshot. Sandboxes that were made of it go on", repeating, nil,
		func(ctx context.Context, _ *sdk.CallToolRequest, in nameInput) (*sdk.CallToolResult, any, error) {
			if err := required(in.Name, "name parameter is required"); err != nil {
				return nil, nil, err
			}
			snap, err := k.client.Snapshots.Get(ctx, in.Name)
			if err == nil {
				err = k.client.Snapshots.Delete(ctx, snap.ID)
			}
			return text("Deleted snapshot %s", in.Name), nil, err
		})
	tool(s, "list_volumes", "List Volumes", "List the volumes, which sandboxes mount and which outlive them", reads, nil,
		func(ctx context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, volumesOutput, error) {
			out := volumesOutput{Volumes: []volumeOutput{}}
			all, err := k.client.Volumes.List(ctx)
			for _, v := range all {
				out.Volumes = append(out.Volumes, volumeOutput{v.ID, v.Name, v.State})
			}
			return asJSON(out.Volumes), out, err
		})
	tool(s, "create_volume", "Create Volume", "Create a volume, or return the one that has this name", adds, nil,
		func(ctx context.Context, _ *sdk.CallToolRequest, in nameInput) (*sdk.CallToolResult, volumeOutput, error) {
			if err := required(in.Name, "name parameter is required"); err != nil {
				return nil, volumeOutput{}, err
			}
			v, err := k.client.Volumes.GetOrCreate(ctx, in.Name)
			return text("Volume %s has ID %s", v.Name, v.ID), volumeOutput{v.ID, v.Name, v.State}, err
		})
	tool(s, "delete_volume", "Delete Volume", "Delete a volume with all that is on it", repeating, nil,
		func(ctx context.Context, _ *sdk.CallToolRequest, in nameInput) (*sdk.CallToolResult, any, error) {
			if err := required(in.Name, "name parameter is required"); err != nil {
				return nil, nil, err
			}
			v, err := k.client.Volumes.Get(ctx, in.Name)
			if err == nil {
				err = k.client.Volumes.Delete(ctx, v.ID)
			}
			return text("Deleted volume %s", in.Name), nil, err
		})
}

func describeSnapshot(s api.Snapshot) snapshotOutput {
	return snapshotOutput{s.Name, string(s.State), s.CPU, s.Memory, s.Disk}
}

// maxLog is how much of a log's end a conversation is given.
const maxLog = 8 << 10

func (k *keeper) createSnapshot(ctx context.Context, req *sdk.CallToolRequest, in newSnapshotInput) (*sdk.CallToolResult, snapshotOutput, error) {
	var out snapshotOutput
	if err := required(in.Name, "name parameter is required"); err != nil {
		return nil, out, err
	}
	p := daytona.SnapshotParams{Name: in.Name, ImageName: in.Image, Entrypoint: in.Entrypoint,
		Resources: daytona.Resources{CPU: in.CPU, Memory: in.Memory, Disk: in.Disk}}
	switch {
	case (in.Image == "") == (in.Dockerfile == ""):
		return nil, out, errors.New("give an image or a dockerfile, one of them")
	case in.Dockerfile != "":
		p.Image = daytona.ImageFromText(in.Dockerfile)
	}
	var log strings.Builder
	p.OnLog = func(text string) { log.WriteString(text) }
	defer progress(ctx, req, "making the snapshot")()
	snap, err := k.client.Snapshots.Create(ctx, p)
	if err != nil {
		said := log.String()
		if len(said) > maxLog {
			said = "…" + strings.ToValidUTF8(said[len(said)-maxLog:], "")
		}
		if said != "" && errors.Is(err, daytona.ErrFailed) {
			res := text("%v\n\n%s", err, said)
			res.IsError = true
			return res, out, nil
		}
		return nil, out, err
	}
	out = describeSnapshot(snap)
	return text("Created snapshot %s", snap.Name), out, nil
}
