// Fastify, and Mercurius with its JIT, on PostgreSQL over postgres.js, which prepares statements and sends them without
// waiting for the answers to those before, as their documentation has it.
import Fastify from "fastify";
import mercurius from "mercurius";
import postgres from "postgres";
import { schema } from "./graphs.js";
import { count, created, greeting, newUser, page, random, told, user, worlds } from "./shared.js";

const address = new URL(process.env.DATABASE_URL.replace("@/", "@localhost/"));
const sql = postgres({
  host: address.searchParams.get("host") ?? address.hostname,
  port: Number(address.port || 5432),
  username: decodeURIComponent(address.username),
  password: decodeURIComponent(address.password),
  database: address.pathname.slice(1),
  max: 16,
});

const columns = sql`id, first_name, last_name, age, email, external_id, active, created_at, updated_at, version`;
const shown = sql`
  id, first_name AS "firstName", last_name AS "lastName", age, email, external_id AS "externalId", active,
  created_at AS "createdAt", updated_at AS "updatedAt", version
`;
const readNumber = (sql, id) => sql`SELECT id, random_number AS "randomNumber" FROM world WHERE id = ${id}`;
const app = Fastify({ logger: false });

app.get("/users/:id", { schema: { response: { 200: user } } }, async (request, reply) => {
  const [found] = await sql`SELECT ${columns} FROM users WHERE id = ${request.params.id}`;
  return found ?? reply.code(404).send({ detail: "Not Found" });
});

app.get("/users", { schema: { response: { 200: page } } }, async (request) => {
  const limit = Number(request.query.limit ?? 20);
  const after = request.query.after ?? "";
  const rows = await sql`SELECT ${columns} FROM users WHERE id > ${after} ORDER BY id LIMIT ${limit + 1}`;
  const more = rows.length > limit;
  if (more) rows.pop();
  return { items: rows, next: more ? rows[limit - 1].id : null };
});

app.post("/users", { schema: { body: newUser, response: { 201: user } } }, async (request, reply) => {
  const row = created(request.body);
  try {
    await sql`INSERT INTO users ${sql(row)}`;
  } catch (error) {
    if (error.code === "23505") return reply.code(409).send({ detail: "Conflict" });
    throw error;
  }
  return reply.code(201).send(row);
});

app.get("/queries", { schema: { response: { 200: worlds } } }, async (request) => {
  const found = await Promise.all(Array.from({ length: count(request) }, () => readNumber(sql, random())));
  return found.map(([row]) => row);
});

app.get("/updates", { schema: { response: { 200: worlds } } }, async (request) => {
  const places = new Set();
  while (places.size < count(request)) places.add(random());
  const sorted = [...places].sort((one, other) => one - other);
  return sql.begin(async (sql) => {
    const found = (await Promise.all(sorted.map((id) => readNumber(sql, id)))).map(([row]) => row);
    for (const row of found) row.randomNumber = random();
    await Promise.all(
      found.map((row) => sql`UPDATE world SET random_number = ${row.randomNumber} WHERE id = ${row.id}`),
    );
    return found;
  });
});

app.get("/fortunes", async (request, reply) => {
  reply.type("text/html; charset=utf-8");
  return told([...(await sql`SELECT id, message FROM fortune`)]);
});

app.get("/json", { schema: { response: { 200: greeting } } }, async () => ({ message: "Hello, World!" }));
app.get("/plaintext", async (request, reply) => reply.type("text/plain; charset=utf-8").send("Hello, World!"));

const resolvers = {
  Query: {
    user: async (_, { id }) => (await sql`SELECT ${shown} FROM users WHERE id = ${id}`)[0] ?? null,
    users: async (_, { first, after }) => {
      const nodes = await sql`SELECT ${shown} FROM users WHERE id > ${after ?? ""} ORDER BY id LIMIT ${first + 1}`;
      const hasNextPage = nodes.length > first;
      if (hasNextPage) nodes.pop();
      return { nodes, pageInfo: { hasNextPage, endCursor: nodes.at(-1)?.id ?? null } };
    },
  },
};
const loaders = {
  User: {
    async groups(queries) {
      const found = new Map(queries.map(({ obj }) => [obj.id, []]));
      const rows = await sql`
        SELECT m.user_id AS user, g.id, g.name, g.description, g.active
        FROM memberships m JOIN groups g ON g.id = m.group_id
        WHERE m.user_id = ANY(${[...found.keys()]}) ORDER BY m.user_id, m.group_id
      `;
      for (const row of rows) found.get(row.user).push(row);
      return queries.map(({ obj, params }) => found.get(obj.id).slice(0, params.first));
    },
  },
};
app.register(mercurius, { schema, resolvers, loaders, jit: 1 });
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
