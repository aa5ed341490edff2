// How GraphiQL is driven: by what its editors hold, which is there some time after a tab was pressed.

/** GraphiQL, once its editors are there; `refused` is what the policy refused. */
export async function graphiql(browser, server) {
  const page = await browser.page(server, { width: 1400, height: 900 });
  await page.addInitScript(() => {
    globalThis.refused = [];
    document.addEventListener("securitypolicyviolation", (event) => globalThis.refused.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(`${server.url}/graphql`);
  await page.waitForSelector(".graphiql-query-editor .view-line");
  await page.waitForFunction(() => globalThis.__MONACO.editor.getModels().length >= 4);
  return page;
}

/** Until the response has this in it; `pattern` is a regular expression. */
export const until = (page, pattern, timeout = 30_000) =>
  page.waitForFunction(
    ({ source }) =>
      new RegExp(source).test(globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith("response.json")).getValue()),
    { source: pattern.source },
    { timeout },
  );

/** Run it until the response has this in it: for a moment GraphiQL still names the operation of the tab before. */
export async function runUntil(page, pattern) {
  for (let attempt = 1; ; attempt += 1) {
    const button = page.getByRole("button", { name: /Execute query/ });
    if (await button.count()) await button.click();
    try {
      return await until(page, pattern, 3_000);
    } catch (error) {
      if (attempt === 10) throw error;
    }
  }
}

/** Until the editor has the operation of the tab: what is run before that is the one of the tab before. */
export async function select(page, name) {
  await page.getByRole("tab", { name }).click();
  await page.waitForFunction(
    (wanted) => globalThis.__MONACO.editor.getModels().some((model) => new RegExp(`(query|mutation|subscription) ${wanted}\\b`).test(model.getValue())),
    name,
  );
}
