// Package api is the promise that the server makes to its clients: the JSON
// types of requests and answers, as published clients of every age send and
// read them.
//
// Rules that hold for every type:
//   - A member without omitempty (or omitzero) is always present; in a request
//     it is mandatory. The others may be left out.
//   - A pointer without omitempty is null where there is no value.
//   - Arrays and objects that are always present are never null.
//   - Points in time are ISO-8601 in UTC with milliseconds (Time).
//   - CPU is counted in vCPUs; memory and disk in GiB; intervals in minutes.
//
// Unknown members of a request are ignored. The OpenAPI document is generated
// from these types and the route table of the server.
package api
