package cli

import (
	"context"
	"errors"
	"fmt"

	"charm.land/huh/v2"
	"github.com/spf13/cobra"

	"daytona/api"
	daytona "daytona/sdk/go"
)

func (a *App) volume() *cobra.Command {
	cmd := &cobra.Command{
		Use: "volume", Aliases: []string{"volumes"}, Short: "Manage Daytona volumes",
		Long: "Manage Daytona volumes: storage that several sandboxes mount and that outlives them",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var format, getFormat string
	var size int
	create := &cobra.Command{
		Use: "create [NAME]", Aliases: []string{"add", "new"}, Short: "Create a volume", Args: cobra.ExactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *daytona.Client, args []string) error {
			if _, err := c.Volumes.Create(ctx, args[0]); err != nil {
				return err
			}
			a.say("Volume %s successfully created", args[0])
			return nil
		}),
	}
	create.Flags().IntVarP(&size, "size", "s", 10, "Size of the volume in GB (volumes grow as needed)")
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all volumes", Args: cobra.NoArgs,
		RunE: a.withClient(func(ctx context.Context, c *daytona.Client, _ []string) error {
			all, err := c.Volumes.List(ctx)
			if err != nil {
				return err
			}
			if format != "" {
				return a.show(format, all)
			}
			if len(all) == 0 {
				a.say("No volumes found")
				fmt.Fprintln(a.Out, "Create one with: daytona volume create NAME")
				return nil
			}
			var rows [][]string
			for _, v := range all {
				rows = append(rows, []string{v.Name, stateText(v.State), "-", ago(a.Now(), v.CreatedAt.Time)})
			}
			a.table([]string{"Volume", "State", "Size", "Created"}, rows)
			return nil
		}),
	}
	formatFlag(list, &format)
	get := &cobra.Command{
		Use: "get [VOLUME]", Short: "Get volume details", Args: cobra.ExactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *daytona.Client, args []string) error {
			v, err := c.Volumes.Get(ctx, args[0])
			if err != nil {
				return err
			}
			if getFormat != "" {
				return a.show(getFormat, v)
			}
			a.details("Volume Info", [][2]string{{"ID", v.ID}, {"Name", v.Name}, {"State", stateText(v.State)}, {"Created", ago(a.Now(), v.CreatedAt.Time)}})
			return nil
		}),
	}
	formatFlag(get, &getFormat)
	remove := &cobra.Command{
		Use: "delete [VOLUME]", Aliases: []string{"remove", "rm"}, Short: "Delete a volume", Args: cobra.ExactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *daytona.Client, args []string) error {
			v, err := c.Volumes.Get(ctx, args[0])
			if err == nil {
				err = c.Volumes.Delete(ctx, v.ID)
			}
			if err != nil {
				return err
			}
			a.say("Volume %s deleted", args[0])
			return nil
		}),
	}
	cmd.AddCommand(create, list, get, remove)
	return cmd
}

// withClient is for commands that need nothing but a client.
func (a *App) withClient(do func(ctx context.Context, c *daytona.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return do(cmd.Context(), c, args)
	}
}

func (a *App) organization() *cobra.Command {
	cmd := &cobra.Command{
		Use: "organization", Aliases: []string{"organizations", "org", "orgs"}, Short: "Manage Daytona organizations",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var format, region string
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all organizations", Args: cobra.NoArgs,
		RunE: a.withClient(func(ctx context.Context, c *daytona.Client, _ []string) error {
			all, err := c.Organizations.List(ctx)
			if err != nil {
				return err
			}
			if format != "" {
				return a.show(format, all)
			}
			if len(all) == 0 {
				a.say("No organizations found")
				fmt.Fprintln(a.Out, "Create one with: daytona organization create NAME")
				return nil
			}
			active := ""
			if who, err := a.access(); err == nil {
				active = who.organization
			}
			var rows [][]string
			for _, o := range all {
				name := o.Name
				if o.ID == active {
					name += " *"
				}
				rows = append(rows, []string{name, o.ID, ago(a.Now(), o.CreatedAt.Time)})
			}
			a.table([]string{"Name", "Id", "Created"}, rows)
			return nil
		}),
	}
	formatFlag(list, &format)
	create := &cobra.Command{
		Use: "create [ORGANIZATION_NAME]", Aliases: []string{"add", "new"}, Short: "Create a new organization and set it as active", Args: cobra.ExactArgs(1),
		RunE: a.byPerson(func(ctx context.Context, c *daytona.Client, args []string) error {
			o, err := c.Organizations.Create(ctx, args[0], region)
			if err != nil {
				return err
			}
			return a.activate(o)
		}),
	}
	create.Flags().StringVarP(&region, "region", "r", "", "Default region, by id or name")
	use := &cobra.Command{
		Use: "use [ORGANIZATION]", Short: "Set active organization", Args: cobra.MaximumNArgs(1),
		RunE: a.byPerson(func(ctx context.Context, c *daytona.Client, args []string) error {
			o, err := a.chooseOrganization(ctx, c, args)
			if err != nil {
				return err
			}
			return a.activate(o)
		}),
	}
	remove := &cobra.Command{
		Use: "delete [ORGANIZATION]", Aliases: []string{"remove", "rm"}, Short: "Delete an organization", Args: cobra.MaximumNArgs(1),
		RunE: a.byPerson(func(ctx context.Context, c *daytona.Client, args []string) error {
			o, err := a.chooseOrganization(ctx, c, args)
			if err != nil {
				return err
			}
			if o.Personal {
				return errors.New("cannot delete personal organization")
			}
			if err := c.Organizations.Delete(ctx, o.ID); err != nil {
				return err
			}
			a.say("Organization %s has been deleted", o.Name)
			return nil
		}),
	}
	cmd.AddCommand(list, use, create, remove, a.organizationUsage())
	return cmd
}

// byPerson is for commands that need a person who has logged in: an API key
// belongs to one organization and cannot change that.
func (a *App) byPerson(do func(ctx context.Context, c *daytona.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		who, err := a.access()
		if err != nil {
			return err
		}
		if who.key != "" {
			return errors.New("an API key belongs to one organization: to change organizations, log in by browser with `daytona login`, or use a key of the other one")
		}
		return a.withClient(do)(cmd, args)
	}
}

func (a *App) activate(o api.Organization) error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	p, err := c.active()
	if err != nil {
		return err
	}
	p.ActiveOrganizationID = &o.ID
	if err := c.write(); err != nil {
		return err
	}
	a.say("Organization %s is now active", o.Name)
	return nil
}

func (a *App) chooseOrganization(ctx context.Context, c *daytona.Client, args []string) (api.Organization, error) {
	all, err := c.Organizations.List(ctx)
	if err != nil {
		return api.Organization{}, err
	}
	if len(args) > 0 {
		for _, o := range all {
			if o.ID == args[0] || o.Name == args[0] {
				return o, nil
			}
		}
		return api.Organization{}, fmt.Errorf("organization %s not found", args[0])
	}
	if !a.Interactive {
		return api.Organization{}, errors.New("which organization? Nobody can be asked here: give its id or name")
	}
	var chosen api.Organization
	var choices []huh.Option[string]
	for _, o := range all {
		choices = append(choices, huh.NewOption(o.Name, o.ID))
	}
	var id string
	if err := a.form(ctx, huh.NewSelect[string]().Title("Organization").Options(choices...).Value(&id)); err != nil {
		return chosen, err
	}
	for _, o := range all {
		if o.ID == id {
			chosen = o
		}
	}
	return chosen, nil
}
