package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"daytona/internal/atomicfile"
	"daytona/internal/version"
	daytona "daytona/sdk/go"
)

// config is the file that keeps who one is, and where.
type config struct {
	ActiveProfile string    `json:"activeProfile"`
	Profiles      []profile `json:"profiles"`

	path string
}

type profile struct {
	ID                   string            `json:"id"`
	Name                 string            `json:"name"`
	API                  profileAPI        `json:"api"`
	ActiveOrganizationID *string           `json:"activeOrganizationId"`
	ToolboxProxyURLs     map[string]string `json:"toolboxProxyUrls,omitempty"` // written by other versions, kept
}

type profileAPI struct {
	URL   string  `json:"url"`
	Key   *string `json:"key"`
	Token *token  `json:"token"`
}

type token struct {
	AccessToken  string `json:"accessToken"`
	RefreshToken string `json:"refreshToken"`
	ExpiresAt    string `json:"expiresAt"`
}

// initialProfile is the id and name of the first profile.
const initialProfile = "initial"

var (
	errNoProfiles = errors.New("no profiles found. Run `daytona login` to authenticate")
	errNoProfile  = errors.New("no active profile found. Run `daytona login` to authenticate")
	errNoToken    = errors.New("no valid token found, use 'daytona login' to reauthenticate")
)

// configDir is the folder of the configuration file.
func (a *App) configDir() (string, error) {
	if dir := a.getenv("DAYTONA_CONFIG_DIR"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("where settings are kept: %w; name a folder with DAYTONA_CONFIG_DIR", err)
	}
	return filepath.Join(dir, "daytona"), nil
}

// readConfig reads the file; one that there is not is empty.
func (a *App) readConfig() (*config, error) {
	dir, err := a.configDir()
	if err != nil {
		return nil, err
	}
	c := &config{path: filepath.Join(dir, "config.json"), Profiles: []profile{}}
	data, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%s is not a settings file (%w). Mend it, or remove it and run `daytona login`", c.path, err)
	}
	return c, nil
}

// write replaces the file at once, so that nothing is lost however it ends. It
// is for its owner alone, since there is a key in it.
func (c *config) write() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return fmt.Errorf("keep the settings: %w", err)
	}
	if err := atomicfile.WriteFile(c.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep the settings: %w", err)
	}
	return nil
}

// active returns the profile in force.
func (c *config) active() (*profile, error) {
	if len(c.Profiles) == 0 {
		return nil, errNoProfiles
	}
	for i := range c.Profiles {
		if c.Profiles[i].ID == c.ActiveProfile {
			return &c.Profiles[i], nil
		}
	}
	return nil, errNoProfile
}

// profileForLogin returns the active profile, or makes the first one.
func (c *config) profileForLogin(url string) *profile {
	if p, err := c.active(); err == nil {
		return p
	}
	if url == "" {
		url = daytona.DefaultAPIURL
	}
	c.Profiles = append(c.Profiles, profile{ID: initialProfile, Name: initialProfile, API: profileAPI{URL: url}})
	c.ActiveProfile = initialProfile
	return &c.Profiles[len(c.Profiles)-1]
}

// access is as whom and where a command works.
type access struct {
	url, key, token, organization string
}

// access finds it: the environment if it says both where and who, else the
// active profile, else a key in the environment alone.
func (a *App) access() (access, error) {
	url, key := a.getenv("DAYTONA_API_URL"), a.getenv("DAYTONA_API_KEY")
	if url != "" && key != "" {
		return access{url: url, key: key}, nil
	}
	c, err := a.readConfig()
	if err != nil {
		return access{}, err
	}
	p, err := c.active()
	if err != nil {
		if key != "" {
			return access{url: daytona.DefaultAPIURL, key: key}, nil
		}
		return access{}, err
	}
	out := access{url: p.API.URL}
	switch {
	case p.API.Key != nil && *p.API.Key != "":
		out.key = *p.API.Key
	case p.API.Token != nil && p.API.Token.AccessToken != "":
		out.token = p.API.Token.AccessToken
		if p.ActiveOrganizationID == nil || *p.ActiveOrganizationID == "" {
			return out, errors.New("no active organization found. Run `daytona organization use` to select an organization")
		}
		out.organization = *p.ActiveOrganizationID
	default:
		return out, errNoToken
	}
	return out, nil
}

// client returns a client of the API.
func (a *App) client() (*daytona.Client, error) { return a.clientAs("cli") }

func (a *App) clientAs(source string, more ...daytona.Option) (*daytona.Client, error) {
	who, err := a.access()
	if err != nil {
		return nil, err
	}
	options := []daytona.Option{
		daytona.WithAPIURL(who.url), daytona.WithEnvironment(a.Env, ""),
		daytona.WithSource(source, "api-client-go/"+version.Version),
	}
	if who.key != "" {
		options = append(options, daytona.WithAPIKey(who.key))
	} else {
		options = append(options, daytona.WithJWT(who.token, who.organization))
	}
	return daytona.New(append(options, more...)...)
}
