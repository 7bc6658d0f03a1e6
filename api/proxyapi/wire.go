package proxyapi

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"time"
)

// The contract over HTTP, between a proxy that runs elsewhere and the server. All
// paths are below WirePrefix of the server's origin and need the proxies' key in
// WireKey:
//
//	GET  config                     Place
//	POST admit                      Ask → Pass
//	POST admit-ssh                  {"token"} → Pass
//	POST wake/{sandbox}             204 once it runs
//	POST touch/{sandbox}            204
//	POST session                    SessionAsk → SessionMade
//	GET  dial/{sandbox}/{port}      upgrade to "tcp": the bytes of the connection
//	ANY  toolbox/{sandbox}/…        as the toolbox answers, upgrades included
//
// An answer with the header WireRefused is not the toolbox's but a Refusal.
const (
	WirePrefix  = "/proxy/v1/"
	WireKey     = "X-Daytona-Proxy-Key"
	WireRefused = "X-Daytona-Refused"
)

// Place is what proxies are told of where they are.
type Place struct {
	Template string `json:"template"` // of previews
	SignIn   string `json:"signIn"`   // address of the page for signing in
	Version  string `json:"version"`  // of the server
}

// SessionAsk are the arguments of Session.
type SessionAsk struct {
	Ask   Ask    `json:"ask"`
	Code  string `json:"code,omitempty"`
	Nonce string `json:"nonce,omitempty"`
}

// SessionMade is what Session returns.
type SessionMade struct {
	Value string    `json:"value"`
	Until time.Time `json:"until"`
}

// Refusal is a fault on its way.
type Refusal struct {
	Kind string `json:"kind"`
	Code string `json:"code,omitempty"`
	Text string `json:"text"`
}

// SignInAt is what ControlPlane.SignIn returns, for the address of the page.
func SignInAt(page, back, nonce string) string {
	sum := sha256.Sum256([]byte(nonce))
	return page + "?" + url.Values{"back": {back}, "nonce": {hex.EncodeToString(sum[:])}}.Encode()
}
