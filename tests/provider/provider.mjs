// The OpenID Provider of npm's oidc-provider, which the OpenID Foundation has certified: node provider.mjs PORT REDIRECT.
// Whoever comes types any name; everybody is a radiologist, and a machine with its own token a service.

import Provider from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const claims = ["sub", "preferred_username", "roles"];

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "firstread",
      client_secret: "a secret: of +the client%",
      redirect_uris: [redirect],
      grant_types: ["authorization_code", "client_credentials"],
      response_types: ["code"],
    },
  ],
  pkce: { required: () => true },
  claims: { openid: claims, profile: claims },
  conformIdTokenClaims: false,
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ scope: "api", audience: "firstread-api", accessTokenFormat: "jwt" }),
    },
  },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, roles: ["radiologist"] }),
  }),
  extraTokenClaims: () => ({ preferred_username: "a machine", roles: ["service"] }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
