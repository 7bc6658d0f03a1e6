package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	daytona "daytona/sdk/go"
)

func (a *App) snapshotPush() *cobra.Command {
	var p daytona.SnapshotParams
	var entrypoint string
	cmd := &cobra.Command{
		Use:   "push [SNAPSHOT]",
		Short: "Push local snapshot",
		Long: `Push a local image to the server and make a snapshot of it.

The image is one of Docker or Podman on this machine, by its name and tag (with
skopeo also one in the storage of containers without either), or an archive: what "docker save" and "podman save" write, or an OCI archive or layout.`,
		Example: `  daytona snapshot push tools:1.0 --name tools
  daytona snapshot push ./image.tar --name mine --cpu 2`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Entrypoint = strings.Fields(entrypoint)
			return a.push(cmd.Context(), args[0], p)
		},
	}
	cmd.Flags().StringVarP(&p.Name, "name", "n", "", "Specify the Snapshot name")
	cmd.Flags().StringVarP(&entrypoint, "entrypoint", "e", "", "The entrypoint command for the image")
	cmd.Flags().StringVar(&p.Region, "region", "", "Region in which the snapshot is kept")
	resourceFlags(cmd, &p.Resources)
	_ = cmd.MarkFlagRequired("name")
	return cmd
}

func (a *App) push(ctx context.Context, source string, p daytona.SnapshotParams) error {
	if _, err := os.Stat(source); err != nil {
		if err := checkImageName(source); err != nil {
			return err
		}
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	access, err := client.Registries.PushAccess(ctx)
	if errors.Is(err, daytona.ErrUnsupported) {
		return fmt.Errorf("this server takes no images from other machines. Put the image into a registry that it can reach, and use: daytona snapshot create %s --image IMAGE", p.Name)
	}
	if err != nil {
		return err
	}
	done := a.spin("Reading " + source)
	defer done()
	image, release, err := localImage(ctx, source)
	if err != nil {
		return err
	}
	defer release()
	if err := checkPlatform(image, source); err != nil {
		return err
	}
	done()
	target := fmt.Sprintf("%s/%s/%s:%s", access.RegistryURL, access.Project, repository(source, p.Name), a.Now().Format("20060102150405"))
	if err := a.sendImage(ctx, image, target, access.Username, access.Secret); err != nil {
		return err
	}
	p.ImageName = target
	p.NoWait = true
	snap, err := client.Snapshots.Create(ctx, p)
	if err != nil {
		return err
	}
	a.say("Successfully pushed %s to Daytona", source)
	done = a.spin("Waiting for the snapshot to be validated")
	defer done()
	if _, err := client.Snapshots.Await(ctx, snap.ID); err != nil {
		return processing(err)
	}
	done()
	a.say("✓ Use '%s' to create a new sandbox using this snapshot", p.Name)
	return nil
}

// repository is the name of an image without its tag and registry; that of an
// archive is the snapshot's.
func repository(source, snapshot string) string {
	if _, err := os.Stat(source); err == nil {
		source = snapshot
	}
	source = strings.ToLower(source)
	if i := strings.LastIndex(source, "/"); i >= 0 {
		source = source[i+1:]
	}
	source, _, _ = strings.Cut(source, ":")
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, source)
}

// checkPlatform wants an image for the machines on which sandboxes run.
func checkPlatform(image v1.Image, source string) error {
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if config.Architecture != "amd64" && config.Architecture != "x86_64" {
		return fmt.Errorf("image '%s' is not compatible with AMD architecture: it is for %s. Build it with --platform linux/amd64", source, config.Architecture)
	}
	return nil
}

// sendImage puts an image into a registry. What the registry has already is not
// sent again, and what breaks off is tried again.
func (a *App) sendImage(ctx context.Context, image v1.Image, target, user, password string) error {
	host, _, _ := strings.Cut(target, "/")
	var options []name.Option
	if isLocal(host) {
		options = append(options, name.Insecure)
	}
	ref, err := name.NewTag(target, options...)
	if err != nil {
		return fmt.Errorf("the server named a place that no image can have: %w", err)
	}
	updates := make(chan v1.Update, 16)
	shown := make(chan struct{})
	go a.showProgress(updates, shown)
	err = remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuth(&authn.Basic{Username: user, Password: password}), remote.WithProgress(updates))
	<-shown
	if err != nil {
		return fmt.Errorf("pushing the image: %w", err)
	}
	return nil
}

// showProgress says how much has been sent: on a terminal alone.
func (a *App) showProgress(updates <-chan v1.Update, shown chan<- struct{}) {
	defer close(shown)
	var last time.Time
	for u := range updates {
		if !a.ErrTerminal || u.Total == 0 || time.Since(last) < 100*time.Millisecond {
			continue
		}
		last = time.Now()
		fmt.Fprintf(a.Err, "\r\x1b[KPushing  %3d%%  %.1f of %.1f MB", u.Complete*100/u.Total, float64(u.Complete)/1e6, float64(u.Total)/1e6)
	}
	if a.ErrTerminal {
		fmt.Fprint(a.Err, "\r\x1b[K")
	}
}

// isLocal: a registry on this machine needs no TLS.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
