package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"charm.land/huh/v2"
	"github.com/spf13/cobra"

	"daytona/internal/version"
	daytona "daytona/sdk/go"
)

func (a *App) login() *cobra.Command {
	var key, url string
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Log in to Daytona",
		Long: `Log in to Daytona: keep an API key, and where the server is, in the settings.

Without --api-key a person is asked. "--api-key -" reads the key from standard
input, so that it stands in no history of commands.`,
		Example: `  daytona login --api-key dtn_0123…
  daytona login --api-url https://daytona.example.com/api --api-key - < key.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("api-key") {
				var err error
				if key, err = a.askForLogin(cmd.Context(), url); err != nil {
					return err
				}
			}
			if key == "-" {
				line, err := bufio.NewReader(a.In).ReadString('\n')
				if line == "" {
					return fmt.Errorf("no API key on standard input: %w", err)
				}
				key = line
			}
			return a.keepKey(cmd.Context(), strings.TrimSpace(key), url)
		},
	}
	cmd.Flags().StringVar(&key, "api-key", "", "API key to use for authentication")
	cmd.Flags().StringVar(&url, "api-url", "", "Where the server's API is (default: what was used before, DAYTONA_API_URL, or "+daytona.DefaultAPIURL+")")
	return cmd
}

// keepKey stores a key. Whether the server takes it is looked at, but decides
// nothing: the server may not run yet.
func (a *App) keepKey(ctx context.Context, key, url string) error {
	if key == "" {
		return errors.New("the API key is empty. The server's operator makes one with: daytona admin key create")
	}
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	p := c.profileForLogin(a.getenv("DAYTONA_API_URL"))
	if url != "" {
		p.API.URL = url
	}
	client, err := daytona.New(daytona.WithAPIURL(p.API.URL), daytona.WithAPIKey(key), daytona.WithRetries(0),
		daytona.WithSource("cli", "api-client-go/"+version.Version), daytona.WithEnvironment(a.Env, ""))
	if err != nil {
		return err
	}
	p.API.URL = client.APIURL()
	p.API.Key, p.API.Token, p.ActiveOrganizationID = &key, nil, nil
	if err := c.write(); err != nil {
		return err
	}
	fmt.Fprintln(a.Out, "Successfully set Daytona API key!")
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := client.APIKeys.Current(ctx); err != nil {
		fmt.Fprintf(a.Err, "warning: %s does not take this key now: %v\n", p.API.URL, err)
	}
	return nil
}

// askForLogin lets a person choose how to log in, and returns a key.
func (a *App) askForLogin(ctx context.Context, url string) (string, error) {
	if !a.Interactive {
		return "", errors.New("nobody can be asked here: give the key with --api-key, or --api-key - to read it from standard input")
	}
	const browser, byKey = "browser", "key"
	how := byKey
	err := a.form(ctx, huh.NewSelect[string]().Title("How do you want to log in?").Options(
		huh.NewOption("Login with Browser", browser), huh.NewOption("Set Daytona API Key", byKey)).Value(&how))
	if err != nil {
		return "", err
	}
	if how == browser {
		return "", a.browserLogin(ctx, url)
	}
	var key string
	err = a.form(ctx, huh.NewInput().Title("API key").EchoMode(huh.EchoModePassword).Value(&key))
	return key, err
}

// browserLogin says what there is instead when the server has no accounts to
// log in with.
func (a *App) browserLogin(ctx context.Context, url string) error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	if url == "" {
		url = c.profileForLogin(a.getenv("DAYTONA_API_URL")).API.URL
	}
	client, err := daytona.New(daytona.WithAPIURL(url), daytona.WithAPIKey("none"), daytona.WithRetries(0), daytona.WithEnvironment(a.Env, ""))
	if err != nil {
		return err
	}
	about, err := client.Config(ctx)
	if err != nil {
		return err
	}
	if about.OIDC.Issuer == "" {
		return fmt.Errorf("the server at %s has no login by browser. Use an API key: its operator makes one with `daytona admin key create`, and `daytona login --api-key KEY` keeps it", url)
	}
	return fmt.Errorf("this version of the command line cannot log in by browser at %s. Make an API key there, and keep it with `daytona login --api-key KEY`", about.OIDC.Issuer)
}

func (a *App) logout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "Logout from Daytona",
		Long:  "Logout from Daytona: forget the API key and the token. Nothing changes on the server.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			p, err := c.active()
			if err != nil {
				return err
			}
			p.API.Key, p.API.Token = nil, nil
			if err := c.write(); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, "Successfully logged out")
			return nil
		},
	}
}
