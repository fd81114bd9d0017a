// @ts-check

/**
 * Drops a folder of this machine on the Model tab, as a hand does: scripts of a page cannot make such an event.
 * @param {import('playwright-core').Page} page whose Model tab is open @param {string} folder
 * @returns {Promise<string>} what the page says then
 */
export async function dropFolder(page, folder) {
  const session = await page.context().newCDPSession(page)
  const { x, y } = /** @type {{ x: number, y: number }} */ (await page.locator('.drop').boundingBox())
  const at = { x: x + 20, y: y + 10, data: { items: [], files: [folder], dragOperationsMask: 1 } }
  await page.evaluate(() => /** @type {HTMLElement} */ (document.querySelector('#loading').dataset.state = 'asked'))
  for (const type of /** @type {const} */ (['dragEnter', 'dragOver', 'drop']))
    await session.send('Input.dispatchDragEvent', { type, ...at })
  await session.detach()
  const isAnswered = () => /ready|failed/.test(/** @type {HTMLElement} */ (document.querySelector('#loading')).dataset.state ?? '')
  await page.waitForFunction(isAnswered, null, { timeout: 60_000 })
  return (await page.textContent('#load-status')) ?? ''
}
