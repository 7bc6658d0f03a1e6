package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daytona/api"
	daytona "daytona/sdk/go"
)

// organizationUsage shows a member what the organization uses.
func (a *App) organizationUsage() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "usage [ORGANIZATION]", Short: "Show what an organization uses of what it may", Args: cobra.MaximumNArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *daytona.Client, args []string) error {
			all, err := c.Organizations.List(ctx)
			if err != nil {
				return err
			}
			wanted := first(args)
			if who, err := a.access(); wanted == "" && err == nil {
				wanted = who.organization
			}
			o, err := pick(all, wanted)
			if err != nil {
				return err
			}
			return a.showUsage(ctx, c, o, format)
		}),
	}
	formatFlag(cmd, &format)
	return cmd
}

// Administration returns the commands for those who look after every
// organization of a server, by its API.
func (a *App) Administration() []*cobra.Command {
	quota := &cobra.Command{Use: "quota", Short: "What organizations may use"}
	quota.AddCommand(a.quotaShow(), a.quotaSet())
	org := &cobra.Command{Use: "org", Aliases: []string{"organization", "orgs"}, Short: "Every organization of a server"}
	org.AddCommand(a.orgList(), a.orgSuspend(), a.orgUnsuspend())
	return []*cobra.Command{quota, org}
}

func (a *App) quotaShow() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "show [ORGANIZATION]", Short: "Show what an organization may use, and what it does", Args: cobra.MaximumNArgs(1),
		RunE: a.onOrganization(func(ctx context.Context, c *daytona.Client, o api.Organization) error {
			return a.showUsage(ctx, c, o, format)
		}),
	}
	formatFlag(cmd, &format)
	return cmd
}

// tiers are the pools of the documented tiers: vCPUs, GiB of memory and of disk.
var tiers = [][3]int{{10, 10, 30}, {100, 200, 300}, {250, 500, 2000}, {500, 1000, 5000}}

func (a *App) quotaSet() *cobra.Command {
	var tier int
	var region string
	numbers := map[string]*int{}
	cmd := &cobra.Command{
		Use: "set [ORGANIZATION]", Short: "Change what an organization may use", Args: cobra.MaximumNArgs(1),
		Long: `Change what an organization may use: in each region, or with --region in one alone.
What is not named stays as it is. What runs goes on, even when it is more than that.`,
		Example: `  daytona admin quota set acme --tier 2
  daytona admin quota set acme --cpu 40 --sandbox-memory 16
  daytona admin quota set acme --region eu --disk 500`,
	}
	for _, f := range []struct{ name, help string }{
		{"cpu", "vCPUs in use"},
		{"memory", "GiB of memory in use"},
		{"disk", "GiB of disk in use"},
		{"sandbox-cpu", "vCPUs of one sandbox at most"},
		{"sandbox-memory", "GiB of memory of one sandbox at most"},
		{"sandbox-disk", "GiB of disk of one sandbox at most"},
		{"snapshots", "Snapshots"},
		{"snapshot-size", "GB of one snapshot at most"},
		{"volumes", "Volumes"},
		{"rate-limit", "Requests a minute; 0 is no limit"},
		{"rate-limit-create", "Requests a minute that create sandboxes; 0 is no limit"},
		{"rate-limit-lifecycle", "Requests a minute that change sandboxes; 0 is no limit"},
	} {
		numbers[f.name] = cmd.Flags().Int(f.name, 0, f.help)
	}
	cmd.Flags().IntVar(&tier, "tier", 0, "Pool of a documented tier, 1 to 4: vCPUs, memory and disk")
	cmd.Flags().StringVar(&region, "region", "", "Id of the one region in which it counts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return usage("nothing to change: name a limit, such as --cpu 40 or --tier 2")
		}
		given := func(name string) *int {
			if cmd.Flags().Changed(name) {
				return numbers[name]
			}
			return nil
		}
		q := api.UpdateOrganizationQuota{
			TotalCPUQuota: given("cpu"), TotalMemoryQuota: given("memory"), TotalDiskQuota: given("disk"),
			MaxCPUPerSandbox: given("sandbox-cpu"), MaxMemoryPerSandbox: given("sandbox-memory"), MaxDiskPerSandbox: given("sandbox-disk"),
			SnapshotQuota: given("snapshots"), MaxSnapshotSize: given("snapshot-size"), VolumeQuota: given("volumes"),
			AuthenticatedRateLimit: given("rate-limit"), SandboxCreateRateLimit: given("rate-limit-create"), SandboxLifecycleRateLimit: given("rate-limit-lifecycle"),
		}
		for limit, seconds := range map[**int]**int{
			&q.AuthenticatedRateLimit:    &q.AuthenticatedRateLimitTTLSeconds,
			&q.SandboxCreateRateLimit:    &q.SandboxCreateRateLimitTTLSeconds,
			&q.SandboxLifecycleRateLimit: &q.SandboxLifecycleRateLimitTTLSeconds,
		} {
			if *limit != nil {
				*seconds = new(60)
			}
		}
		if cmd.Flags().Changed("tier") {
			if tier < 1 || tier > len(tiers) {
				return usage("--tier: must be between 1 and %d", len(tiers))
			}
			pool := tiers[tier-1]
			for i, to := range []**int{&q.TotalCPUQuota, &q.TotalMemoryQuota, &q.TotalDiskQuota} {
				if *to == nil {
					*to = &pool[i]
				}
			}
		}
		return a.onOrganization(func(ctx context.Context, c *daytona.Client, o api.Organization) error {
			if region != "" {
				return a.setRegionQuota(ctx, c, o, region, q)
			}
			if _, err := c.Organizations.SetQuota(ctx, o.ID, q); err != nil {
				return err
			}
			a.say("Quota of organization %s changed", o.Name)
			return nil
		})(cmd, args)
	}
	return cmd
}

func (a *App) setRegionQuota(ctx context.Context, c *daytona.Client, o api.Organization, region string, q api.UpdateOrganizationQuota) error {
	r := api.UpdateOrganizationRegionQuota{
		TotalCPUQuota: q.TotalCPUQuota, TotalMemoryQuota: q.TotalMemoryQuota, TotalDiskQuota: q.TotalDiskQuota,
		MaxCPUPerSandbox: q.MaxCPUPerSandbox, MaxMemoryPerSandbox: q.MaxMemoryPerSandbox, MaxDiskPerSandbox: q.MaxDiskPerSandbox,
	}
	if q.SnapshotQuota != nil || q.MaxSnapshotSize != nil || q.VolumeQuota != nil ||
		q.AuthenticatedRateLimit != nil || q.SandboxCreateRateLimit != nil || q.SandboxLifecycleRateLimit != nil {
		return usage("--region: snapshots, volumes and rates are counted over all regions; set them without it")
	}
	if err := c.Organizations.SetRegionQuota(ctx, o.ID, region, r); err != nil {
		return err
	}
	a.say("Quota of organization %s in region %s changed", o.Name, region)
	return nil
}

func (a *App) orgList() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List every organization of the server", Args: cobra.NoArgs,
		RunE: a.withClient(func(ctx context.Context, c *daytona.Client, _ []string) error {
			all, err := c.Organizations.All(ctx)
			if err != nil {
				return err
			}
			if format != "" {
				return a.show(format, all)
			}
			var rows [][]string
			for _, o := range all {
				state := "active"
				if o.Suspended {
					state = "suspended"
				}
				rows = append(rows, []string{o.Name, o.ID, state, ago(a.Now(), o.CreatedAt.Time)})
			}
			a.table([]string{"Name", "Id", "State", "Created"}, rows)
			return nil
		}),
	}
	formatFlag(cmd, &format)
	return cmd
}

func (a *App) orgSuspend() *cobra.Command {
	var reason string
	var grace, lasts time.Duration
	cmd := &cobra.Command{
		Use: "suspend [ORGANIZATION]", Short: "Bar an organization from using more", Args: cobra.MaximumNArgs(1),
		Long: `Bar an organization from using more. What it runs goes on for the grace period and is
then stopped; its files stay, and it can read, stop and delete everything.`,
		Example: "  daytona admin org suspend acme --reason unpaid --grace 48h",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s := api.OrganizationSuspension{Reason: reason}
		if cmd.Flags().Changed("grace") {
			if grace < 0 || grace%time.Hour != 0 {
				return usage("--grace: must be whole hours, such as 48h")
			}
			s.SuspensionCleanupGracePeriodHours = new(int(grace / time.Hour))
		}
		if cmd.Flags().Changed("for") {
			if lasts <= 0 {
				return usage("--for: must be longer than nothing")
			}
			until := api.At(a.Now().Add(lasts))
			s.Until = &until
		}
		return a.onOrganization(func(ctx context.Context, c *daytona.Client, o api.Organization) error {
			if err := c.Organizations.Suspend(ctx, o.ID, s); err != nil {
				return err
			}
			a.say("Organization %s is suspended", o.Name)
			return nil
		})(cmd, args)
	}
	cmd.Flags().StringVar(&reason, "reason", "", "Why, for its members to read")
	cmd.Flags().DurationVar(&grace, "grace", 0, "How long what runs is left alone, in whole hours (default as it was, 24h at first)")
	cmd.Flags().DurationVar(&lasts, "for", 0, "How long the suspension lasts (default until it is lifted)")
	return cmd
}

func (a *App) orgUnsuspend() *cobra.Command {
	return &cobra.Command{
		Use: "unsuspend [ORGANIZATION]", Short: "Lift the suspension of an organization", Args: cobra.MaximumNArgs(1),
		RunE: a.onOrganization(func(ctx context.Context, c *daytona.Client, o api.Organization) error {
			if err := c.Organizations.Unsuspend(ctx, o.ID); err != nil {
				return err
			}
			a.say("Organization %s is no longer suspended", o.Name)
			return nil
		}),
	}
}

// onOrganization is for commands of administrators on any organization, by id or
// name. Where there is only one it need not be named.
func (a *App) onOrganization(do func(ctx context.Context, c *daytona.Client, o api.Organization) error) func(*cobra.Command, []string) error {
	return a.withClient(func(ctx context.Context, c *daytona.Client, args []string) error {
		all, err := c.Organizations.All(ctx)
		if err != nil {
			return err
		}
		o, err := pick(all, first(args))
		if err != nil {
			return err
		}
		return do(ctx, c, o)
	})
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// pick finds an organization by id, else by a name that one alone has.
func pick(all []api.Organization, wanted string) (api.Organization, error) {
	var found []api.Organization
	for _, o := range all {
		if o.ID == wanted {
			return o, nil
		}
		if o.Name == wanted || wanted == "" {
			found = append(found, o)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case wanted == "":
		return api.Organization{}, errors.New("which organization? Give its id or name")
	case len(found) == 0:
		return api.Organization{}, fmt.Errorf("organization %s not found", wanted)
	}
	return api.Organization{}, fmt.Errorf("%d organizations are called %s: give the id", len(found), wanted)
}

func (a *App) showUsage(ctx context.Context, c *daytona.Client, o api.Organization, format string) error {
	u, err := c.Organizations.Usage(ctx, o.ID)
	if err != nil {
		return err
	}
	if format != "" {
		return a.show(format, u)
	}
	a.usageTables(o, u)
	return nil
}

func (a *App) usageTables(o api.Organization, u api.OrganizationUsageOverview) {
	name := o.Name
	if o.Suspended {
		name += " (suspended)"
	}
	a.details("Usage", [][2]string{{"Organization", name}, {"ID", o.ID}})
	var rows [][]string
	for _, r := range u.RegionUsage {
		rows = append(rows, []string{
			r.RegionID, of(r.CurrentCPUUsage, r.TotalCPUQuota, ""), of(r.CurrentMemoryUsage, r.TotalMemoryQuota, " GiB"),
			of(r.CurrentDiskUsage, r.TotalDiskQuota, " GiB"), maximum(r),
		})
	}
	a.table([]string{"Region", "vCPUs", "Memory", "Disk", "One Sandbox"}, rows)
	a.details("In all regions", [][2]string{
		{"Snapshots", of(u.CurrentSnapshotUsage, u.TotalSnapshotQuota, "")}, {"Volumes", of(u.CurrentVolumeUsage, u.TotalVolumeQuota, "")},
	})
}

func of(used, total float64, unit string) string {
	return figure(used) + " of " + figure(total) + unit
}

// maximum says how large one sandbox may be.
func maximum(r api.RegionUsageOverview) string {
	var parts []string
	for _, m := range []struct {
		n    *float64
		unit string
	}{{r.MaxCPUPerSandbox, " vCPUs"}, {r.MaxMemoryPerSandbox, " GiB"}, {r.MaxDiskPerSandbox, " GiB disk"}} {
		if m.n != nil {
			parts = append(parts, figure(*m.n)+m.unit)
		}
	}
	return strings.Join(parts, ", ")
}

func figure(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
