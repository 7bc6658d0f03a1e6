//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"daytona/cli"
	"daytona/controlplane/auth"
)

func adminCommand(app *cli.App) *cobra.Command {
	admin := &cobra.Command{Use: "admin", Short: "Administer a server"}
	key := &cobra.Command{Use: "key", Aliases: []string{"keys"}, Short: "API keys of users"}
	key.AddCommand(createKeyCommand(), listKeysCommand(app), deleteKeyCommand())
	user := &cobra.Command{Use: "user", Aliases: []string{"users"}, Short: "Users of the server"}
	user.AddCommand(createUserCommand(), listUsersCommand(app))
	admin.AddCommand(key, user, proxyKeyCommand(), ownSnapshotsCommand())
	admin.AddCommand(app.Administration()...)
	return admin
}

// whichServer are the options that say on which server's data a command works.
var whichServer = []string{"data", "config", "database"}

// withUsers gives a command the users in the server's database, which may run or not.
func withUsers(cmd *cobra.Command, work func(ctx context.Context, cmd *cobra.Command, users *auth.Service) error) *cobra.Command {
	return withSettings(cmd, func(cmd *cobra.Command, s *settings) (err error) {
		log := slog.New(slog.DiscardHandler)
		store, err := openExistingStore(cmd.Context(), s, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		return work(cmd.Context(), cmd, auth.New(auth.Config{Store: store, Log: log, Quota: s.Quota, Region: s.Region}))
	}, whichServer...)
}

// userFlag lets a command work on another user than the first administrator.
func userFlag(cmd *cobra.Command, ref *string) {
	cmd.Flags().StringVar(ref, "user", "", "e-mail address or id of the user (default the administrator that the first start made)")
}

func createKeyCommand() *cobra.Command {
	var name, ref string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an API key that may do everything",
		Long: `Make an API key that may do everything in the administrator's organization, or in
that of another user, and print it. It works on the server's database, while the
server runs or not.`,
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the key (default made of the time)")
	cmd.Flags().DurationVar(&lasts, "expires", 0, "how long it is valid, such as 720h (default for ever)")
	userFlag(cmd, &ref)
	return withUsers(cmd, func(ctx context.Context, cmd *cobra.Command, users *auth.Service) error {
		var end *time.Time
		if cmd.Flags().Changed("expires") {
			end = new(time.Now().Add(lasts))
		}
		who, err := users.Find(ctx, ref)
		if err != nil {
			return err
		}
		_, value, err := users.CreateKeyOf(ctx, who, name, end)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), value)
		return err
	})
}

func listKeysCommand(app *cli.App) *cobra.Command {
	var ref, format string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the API keys of a user",
		Long: "List the API keys of the administrator, or of another user. Their values are stored nowhere.",
	}
	userFlag(cmd, &ref)
	cli.FormatFlag(cmd, &format)
	type key struct {
		Name        string            `json:"name"`
		Value       string            `json:"value"`
		Permissions []auth.Permission `json:"permissions"`
		CreatedAt   time.Time         `json:"createdAt"`
		LastUsedAt  *time.Time        `json:"lastUsedAt"`
		ExpiresAt   *time.Time        `json:"expiresAt"`
	}
	return withUsers(cmd, func(ctx context.Context, _ *cobra.Command, users *auth.Service) error {
		who, err := users.Find(ctx, ref)
		if err != nil {
			return err
		}
		all, err := users.KeysOf(ctx, who)
		if err != nil {
			return err
		}
		out, rows := []key{}, [][]string{}
		for _, k := range all {
			out = append(out, key{k.Name, k.Masked(), k.Permissions, k.CreatedAt, k.LastUsedAt, k.ExpiresAt})
			rows = append(rows, []string{k.Name, k.Masked(), day(&k.CreatedAt), day(k.LastUsedAt), day(k.ExpiresAt)})
		}
		return app.Present(format, out, []string{"Name", "Key", "Created", "Last Used", "Expires"}, rows)
	})
}

func deleteKeyCommand() *cobra.Command {
	var name, ref string
	cmd := &cobra.Command{
		Use: "delete", Aliases: []string{"remove", "rm"}, Short: "Revoke an API key of a user",
		Long: "Revoke an API key of the administrator, or of another user. A server that runs refuses\nit within ten seconds.",
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the key")
	userFlag(cmd, &ref)
	return withUsers(cmd, func(ctx context.Context, cmd *cobra.Command, users *auth.Service) error {
		if name == "" {
			return errors.New("which key? Say --name; daytona admin key list shows them")
		}
		who, err := users.Find(ctx, ref)
		if err != nil {
			return err
		}
		if err := users.DeleteKeyOf(ctx, who, name); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "API key %s deleted\n", name)
		return err
	})
}

func createUserCommand() *cobra.Command {
	var n auth.NewUser
	var role string
	cmd := &cobra.Command{
		Use: "create", Aliases: []string{"add", "new"}, Short: "Make a user with an organization of its own",
		Long: `Make a user, an organization that is the user's own, and an API key that may do
everything there, and print the key. Nobody sees what is another user's. It works
on the server's database, while the server runs or not.`,
	}
	cmd.Flags().StringVar(&n.Email, "email", "", "e-mail address of the user, by which other commands know it")
	cmd.Flags().StringVar(&n.Name, "name", "", "name of the user (default that of the e-mail address)")
	cmd.Flags().StringVar(&role, "role", string(auth.RoleUser), "user, or admin: whoever administers the server")
	return withUsers(cmd, func(ctx context.Context, cmd *cobra.Command, users *auth.Service) error {
		if n.Email == "" {
			return errors.New("who is it? Say --email")
		}
		n.Role = auth.SystemRole(role)
		_, value, err := users.CreateUser(ctx, n)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), value)
		return err
	})
}

func listUsersCommand(app *cli.App) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the users of the server", Long: "List the users of the server, each with the organization that is its own."}
	cli.FormatFlag(cmd, &format)
	type user struct {
		ID             string          `json:"id"`
		Name           string          `json:"name"`
		Email          string          `json:"email"`
		Role           auth.SystemRole `json:"role"`
		OrganizationID string          `json:"organizationId"`
		CreatedAt      time.Time       `json:"createdAt"`
	}
	return withUsers(cmd, func(ctx context.Context, _ *cobra.Command, users *auth.Service) error {
		all, err := users.Users(ctx)
		if err != nil {
			return err
		}
		out, rows := []user{}, [][]string{}
		for _, u := range all {
			who, err := users.Find(ctx, u.ID)
			if err != nil {
				return err
			}
			out = append(out, user{u.ID, u.Name, u.Email, u.Role, who.Organization.ID, u.CreatedAt})
			rows = append(rows, []string{u.Name, u.Email, string(u.Role), who.Organization.ID, day(&u.CreatedAt)})
		}
		return app.Present(format, out, []string{"Name", "Email", "Role", "Organization", "Created"}, rows)
	})
}

// day is a time as a table shows it; nil is never.
func day(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Local().Format(time.DateTime)
}
