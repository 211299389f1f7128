// GraphQL: one span for each operation, which carries the error that the answer hides.

import assert from "node:assert/strict";
import test from "node:test";
import { major, withFunction } from "./stage/function.mjs";

const SCHEMA = `const schema = buildSchema("type Query { item(id: Int, name: String): String fails: String later: String } type Mutation { add(name: String): String }");
  const tick = () => new Promise((go) => setImmediate(go));
  const rootValue = { item: ({ id }) => "item " + id, fails: () => { throw new RangeError("out of stock"); }, later: async () => { await tick(); throw new RangeError("later"); }, add: async ({ name }) => { await tick(); trace.getTracer("t").startSpan("resolver").end(); return name; } };
  const handler = async () => {
    const answers = [
      await graphql({ schema, rootValue, source: 'query Item { item(id: 7, name: "secret") }' }),
      graphqlSync({ schema, rootValue, source: "{ fails }" }),
      await graphql({ schema, rootValue, source: "query A { later } mutation Add($n: String) { add(name: $n) }", operationName: "Add", variableValues: { n: "secret" } }),
      await graphql({ schema, rootValue, source: "query A { later }" }),
      await graphql({ schema, rootValue, source: "{ nothing }" }),
      execute({ schema, document: parse("{ item }"), rootValue }),
    ];
    return answers.map(({ data, errors }) => [data, errors?.map((error) => error.message)]); };`;

const FORMS = {
  "CommonJS": { "app.js": `const { buildSchema, execute, graphql, graphqlSync, parse } = require("graphql"); const { trace } = require("@opentelemetry/api"); ${SCHEMA} exports.handler = handler;` },
  "ES module": { "app.mjs": `import { buildSchema, execute, graphql, graphqlSync, parse } from "graphql"; import { trace } from "@opentelemetry/api"; ${SCHEMA} export { handler };` },
};

for (const [name, sources] of Object.entries(FORMS))
  test(`operations, ${name}`, () =>
    withFunction(sources, {}, async (run) => {
      const answers = JSON.parse((await run.invoke()).body);
      await run.frames.done(1);
      assert.deepEqual(answers.slice(0, 4), [[{ item: "item 7" }, null], [{ fails: null }, ["out of stock"]], [{ add: "secret" }, null], [{ later: null }, ["later"]]]);
      const spans = run.frames.ended.filter((span) => "graphql.source" in span.attributes);
      const root = run.frames.named("app.handler");
      assert.deepEqual(spans.map((span) => [span.name, span.status, span.kind, span.parentId]), [
        ["query Item", 0, 1, root.spanId],
        ["query", 2, 1, root.spanId],
        ["mutation Add", 0, 1, root.spanId],
        ["query A", 2, 1, root.spanId],
        ["query", 0, 1, root.spanId],
      ]);
      assert.deepEqual(spans[0].attributes, { "graphql.operation.type": "query", "graphql.operation.name": "Item", "graphql.source": 'query Item { item(id: *, name: "*") }' });
      assert.deepEqual(spans[1].events.map(({ attributes }) => [attributes["exception.type"], attributes["exception.message"]]), [["RangeError", "out of stock"]]);
      assert.equal(spans[3].statusMessage, "later");
      assert.equal(run.frames.named("resolver").parentId, spans[2].spanId);
      assert.doesNotMatch(JSON.stringify(spans, (_, value) => (typeof value === "bigint" ? 0 : value)), /secret/);
      assert.doesNotMatch(run.output(), /\[otel-xray\]/);
    }));

test("operations through Apollo Server", { skip: major < 20 }, () =>
  withFunction(
    `const { ApolloServer } = require("@apollo/server");
     const server = new ApolloServer({ typeDefs: "type Query { item: String fails: String }", resolvers: { Query: { item: () => "ok", fails: () => { throw new RangeError("out of stock"); } } } });
     exports.handler = async () => { const { body } = await server.executeOperation({ query: "query Item { item fails }" }); return body.singleResult.data; };`,
    {},
    async (run) => {
      assert.deepEqual(JSON.parse((await run.invoke()).body), { item: "ok", fails: null });
      await run.frames.done(1);
      const span = run.frames.named("query Item");
      assert.deepEqual([span.status, span.statusMessage, span.parentId], [2, "out of stock", run.frames.named("app.handler").spanId]);
    },
  ));
