package daytona

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DefaultAPIURL is where a server on this machine listens.
const DefaultAPIURL = "http://localhost:3986/api"

// Version is the version of this package, as servers see it.
const Version = "1.0.0"

// Option changes how a [Client] is made.
type Option func(*config)

type config struct {
	apiKey, jwt, organization string
	apiURL, target            string
	source, agent             string
	http                      *http.Client
	wait                      time.Duration
	retries                   int
	env                       func(string) (string, bool)
	dir                       string
}

// WithAPIKey sets the key by which the client is known.
func WithAPIKey(key string) Option { return func(c *config) { c.apiKey = key } }

// WithJWT sets a token of a person who has logged in, and the organization for
// which that person acts.
func WithJWT(token, organizationID string) Option {
	return func(c *config) { c.jwt, c.organization = token, organizationID }
}

// WithAPIURL sets where the server is, such as "https://example.com/api".
func WithAPIURL(url string) Option { return func(c *config) { c.apiURL = url } }

// WithTarget sets the region in which sandboxes are made.
func WithTarget(region string) Option { return func(c *config) { c.target = region } }

// WithHTTPClient sets by what requests are sent. It must have no time limit
// of its own, since some answers last as long as a command.
func WithHTTPClient(client *http.Client) Option { return func(c *config) { c.http = client } }

// WithWaitLimit bounds how long calls wait for a sandbox or snapshot to come to
// a state, when their context has no earlier deadline. 0 is no limit.
func WithWaitLimit(limit time.Duration) Option { return func(c *config) { c.wait = limit } }

// WithRetries sets how often a request that is safe to repeat is sent again;
// the default is 3.
func WithRetries(n int) Option { return func(c *config) { c.retries = n } }

// WithSource names the program that calls, for the server's log. Programs need
// not set it.
func WithSource(source, userAgent string) Option {
	return func(c *config) { c.source, c.agent = source, userAgent }
}

// WithEnvironment replaces where variables are looked up, and the directory in
// which .env files are read; an empty directory means that none is.
func WithEnvironment(lookup func(name string) (string, bool), dir string) Option {
	return func(c *config) { c.env, c.dir = lookup, dir }
}

// resolve fills what code left open from environment, files and defaults.
func (c *config) resolve() error {
	files, err := readDotEnv(c.dir)
	if err != nil {
		return err
	}
	get := func(name string) string {
		if value, ok := c.env(name); ok && value != "" {
			return value
		}
		return files[name]
	}
	if c.apiURL == "" {
		c.apiURL = get("DAYTONA_API_URL")
	}
	if c.apiURL == "" {
		c.apiURL = get("DAYTONA_SERVER_URL")
	}
	if c.apiURL == "" {
		c.apiURL = DefaultAPIURL
	}
	if c.target == "" {
		c.target = get("DAYTONA_TARGET")
	}
	// Credentials given in code are not mixed with others.
	if c.apiKey == "" && c.jwt == "" {
		c.apiKey = get("DAYTONA_API_KEY")
		if c.apiKey == "" {
			c.jwt = get("DAYTONA_JWT_TOKEN")
		}
	}
	if c.jwt != "" && c.organization == "" {
		c.organization = get("DAYTONA_ORGANIZATION_ID")
	}
	return c.check()
}

func (c *config) check() error {
	u, err := url.Parse(c.apiURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("daytona: %q is not the URL of an API: it begins with http:// or https:// and mostly ends in /api", c.apiURL)
	}
	c.apiURL = strings.TrimRight(c.apiURL, "/")
	switch {
	case c.apiKey == "" && c.jwt == "":
		return fmt.Errorf("daytona: %w: set DAYTONA_API_KEY, or pass WithAPIKey", ErrNoCredentials)
	case c.jwt != "" && c.organization == "":
		return fmt.Errorf("daytona: %w: a JWT needs an organization: set DAYTONA_ORGANIZATION_ID, or pass WithJWT", ErrNoCredentials)
	}
	if strings.ContainsAny(c.apiKey+c.jwt, "\r\n\x00") {
		return errors.New("daytona: the API key or token contains a line break")
	}
	return nil
}

// readDotEnv reads .env and then .env.local, of which the latter counts more.
func readDotEnv(dir string) (map[string]string, error) {
	all := map[string]string{}
	if dir == "" {
		return all, nil
	}
	for _, name := range []string{".env", ".env.local"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue // none, or none of ours to read
		}
		if err := parseDotEnv(text, all); err != nil {
			return nil, fmt.Errorf("daytona: %s: %w", filepath.Join(dir, name), err)
		}
	}
	return all, nil
}

// parseDotEnv reads lines NAME=value into all. Values may stand in single or
// double quotes; within double ones \n, \" and \\ are escapes. What is not such
// a line belongs to other programs and is passed over.
func parseDotEnv(text []byte, all map[string]string) error {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		line = strings.TrimSpace(strings.TrimPrefix(line, "export "))
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		all[strings.TrimSpace(name)] = unquote(strings.TrimSpace(value))
	}
	return lines.Err()
}

func unquote(value string) string {
	if value == "" {
		return ""
	}
	switch quote := value[0]; quote {
	case '\'', '"':
		var b strings.Builder
		for i := 1; i < len(value); i++ {
			switch c := value[i]; {
			case c == quote:
				return b.String()
			case c == '\\' && quote == '"' && i+1 < len(value):
				i++
				if value[i] == 'n' {
					b.WriteByte('\n')
				} else {
					b.WriteByte(value[i])
				}
			default:
				b.WriteByte(c)
			}
		}
		return value // never closed: taken as it stands
	}
	if i := strings.Index(value, " #"); i >= 0 {
		value = strings.TrimSpace(value[:i])
	}
	return value
}

// Environment returns a look-up of variables as [New] does it: in the
// environment, then in the files .env.local and .env of a directory.
func Environment(dir string) (func(name string) (string, bool), error) {
	files, err := readDotEnv(dir)
	if err != nil {
		return nil, err
	}
	return func(name string) (string, bool) {
		if value, ok := os.LookupEnv(name); ok && value != "" {
			return value, true
		}
		value, ok := files[name]
		return value, ok
	}, nil
}
