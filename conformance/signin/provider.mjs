// The company's identity provider: oidc-provider with its development pages
// (any password will do), a groups claim, and people who can be removed.
//
//   node provider.mjs PORT PEOPLE.json REDIRECT...
//
// PEOPLE.json maps login names to groups and is read anew for every question;
// who is not in it is not known any more. REDIRECT are the gateway's
// {publicUrl}/login/callback. Its client is "gateway" with the secret
// "the-gateways-own-secret".
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [port, people, ...redirects] = process.argv.slice(2);
const groups = (name) => JSON.parse(readFileSync(people, 'utf8'))[name];

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'gateway', client_secret: 'the-gateways-own-secret', redirect_uris: redirects,
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
  }],
  claims: { openid: ['sub'], profile: ['name', 'groups'] },
  scopes: ['openid', 'profile', 'offline_access'],
  // A refresh token although nobody asked with prompt=consent, as companies'
  // providers give it.
  issueRefreshToken: async () => true,
  findAccount: (ctx, sub) => groups(sub) && {
    accountId: sub,
    claims: () => ({ sub, name: `${sub} of the company`, groups: groups(sub) }),
  },
  cookies: { keys: ['signs the cookies of a test'] },
  ttl: { AccessToken: 60, IdToken: 60, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
});
provider.listen(Number(port), '127.0.0.1');
