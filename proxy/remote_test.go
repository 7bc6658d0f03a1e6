package proxy_test

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"testing"

	"daytona/api/proxyapi"
	"daytona/controlplane/controlplanetest"
	"daytona/controlplane/proxyhttp"
	"daytona/internal/fault"
	"daytona/proxy/remote"
)

const proxiesKey = "dtp_the-key-of-these-tests"

// elsewhere returns the control plane as a proxy in another process has it.
func elsewhere(t *testing.T, s *controlplanetest.Server) proxyapi.ControlPlane {
	t.Helper()
	place := proxyapi.Place{Template: s.Previews.String(), SignIn: s.Plane.Gate.SignInURL.String(), Version: "test"}
	server := httptest.NewServer(proxyhttp.New(s.Plane.Gate, proxiesKey, place, slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := remote.Open(t.Context(), remote.Config{Server: at, Key: "dtp_wrong", Log: slog.New(slog.DiscardHandler)}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a proxy with a wrong key: %v", err)
	}
	plane, told, err := remote.Open(t.Context(), remote.Config{Server: at, Key: proxiesKey, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Close)
	if told != place {
		t.Errorf("the proxy was told %+v", told)
	}
	return plane
}

// TestElsewhere runs what holds for a proxy in the server with one in a process
// of its own.
func TestElsewhere(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"WhoMaySee": TestWhoMaySeeAPreview, "TokensEnd": TestTokensEndWithTheSandbox, "Forwarding": TestForwarding, "WebSocket": TestWebSocket,
		"Wake": TestTheFirstRequestWakesASandbox, "SignedLinks": TestSignedLinks, "ManyConnections": TestManyConnections,
		"Midway": TestAProgramThatGoesAwayMidway, "GRPC": TestGRPCGoesByHTTP2, "Cookies": TestCookiesWorkForTheSandboxsOwnPagesOnly,
		"SigningIn": TestSigningInLeadsNowhereElse, "Pages": TestPagesForPeople, "Credentials": TestCredentialsDoNotReachTheProgram,
	} {
		t.Run(name, test)
	}
}
