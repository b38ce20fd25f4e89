// Fastify, and Mercurius with its JIT, on PostgreSQL over node-postgres: a pool, and statements that are prepared because
// they have names, as its documentation recommends.
import Fastify from "fastify";
import mercurius from "mercurius";
import pg from "pg";
import { schema } from "./graphs.js";
import { columns, count, created, greeting, newUser, page, random, fortunesPage, user, worlds } from "./shared.js";

const address = new URL(process.env.DATABASE_URL.replace("@/", "@localhost/"));
const pool = new pg.Pool({
  host: address.searchParams.get("host") ?? address.hostname,
  port: Number(address.port || 5432),
  user: decodeURIComponent(address.username),
  password: decodeURIComponent(address.password),
  database: address.pathname.slice(1),
  max: 16,
});

const shown =
  'id, first_name AS "firstName", last_name AS "lastName", age, email, external_id AS "externalId", active, ' +
  'created_at AS "createdAt", updated_at AS "updatedAt", version';
const statements = {
  readOne: `SELECT ${columns} FROM users WHERE id = $1`,
  readPage: `SELECT ${columns} FROM users WHERE id > $1 ORDER BY id LIMIT $2`,
  insert: `INSERT INTO users (${columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
  readNumber: 'SELECT id, random_number AS "randomNumber" FROM world WHERE id = $1',
  writeNumber: "UPDATE world SET random_number = $1 WHERE id = $2",
  fortunes: "SELECT id, message FROM fortune",
  showOne: `SELECT ${shown} FROM users WHERE id = $1`,
  showPage: `SELECT ${shown} FROM users WHERE id > $1 ORDER BY id LIMIT $2`,
  showGroups:
    "SELECT m.user_id AS user, g.id, g.name, g.description, g.active FROM memberships m JOIN groups g ON g.id = m.group_id " +
    "WHERE m.user_id = ANY($1) ORDER BY m.user_id, m.group_id",
};
const rows = async (name, values = [], client = pool) =>
  (await client.query({ name, text: statements[name], values })).rows;
const app = Fastify({ logger: false });

app.get("/users/:id", { schema: { response: { 200: user } } }, async (request, reply) => {
  const [record] = await rows("readOne", [request.params.id]);
  return record ?? reply.code(404).send({ detail: "Not Found" });
});

app.get("/users", { schema: { response: { 200: page } } }, async (request) => {
  const limit = Number(request.query.limit ?? 20);
  const items = await rows("readPage", [request.query.after ?? "", limit + 1]);
  const more = items.length > limit;
  if (more) items.pop();
  return { items, next: more ? items[limit - 1].id : null };
});

app.post("/users", { schema: { body: newUser, response: { 201: user } } }, async (request, reply) => {
  const row = created(request.body);
  try {
    await rows("insert", Object.values(row));
  } catch (error) {
    if (error.code === "23505") return reply.code(409).send({ detail: "Conflict" });
    throw error;
  }
  return reply.code(201).send(row);
});

app.get("/queries", { schema: { response: { 200: worlds } } }, async (request) => {
  const results = await Promise.all(Array.from({ length: count(request) }, () => rows("readNumber", [random()])));
  return results.map(([row]) => row);
});

app.get("/updates", { schema: { response: { 200: worlds } } }, async (request) => {
  const places = new Set();
  while (places.size < count(request)) places.add(random());
  const sorted = [...places].sort((one, other) => one - other);
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const read = [];
    for (const id of sorted) read.push(...(await rows("readNumber", [id], client)));
    for (const row of read) {
      row.randomNumber = random();
      await rows("writeNumber", [row.randomNumber, row.id], client);
    }
    await client.query("COMMIT");
    return read;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
});

app.get("/fortunes", async (request, reply) => {
  reply.type("text/html; charset=utf-8");
  return fortunesPage(await rows("fortunes"));
});

app.get("/json", { schema: { response: { 200: greeting } } }, async () => ({ message: "Hello, World!" }));
app.get("/plaintext", async (request, reply) => reply.type("text/plain; charset=utf-8").send("Hello, World!"));

const resolvers = {
  Query: {
    user: async (_, { id }) => (await rows("showOne", [id]))[0] ?? null,
    users: async (_, { first, after }) => {
      const nodes = await rows("showPage", [after ?? "", first + 1]);
      const hasNextPage = nodes.length > first;
      if (hasNextPage) nodes.pop();
      return { nodes, pageInfo: { hasNextPage, endCursor: nodes.at(-1)?.id ?? null } };
    },
  },
};
const loaders = {
  User: {
    async groups(queries) {
      const groups = new Map(queries.map(({ obj }) => [obj.id, []]));
      for (const row of await rows("showGroups", [[...groups.keys()]])) groups.get(row.user).push(row);
      return queries.map(({ obj, params }) => groups.get(obj.id).slice(0, params.first));
    },
  },
};
app.register(mercurius, { schema, resolvers, loaders, jit: 1 });
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
