/**
 * Set up before every test file: what a test lets go of stays until it is disposed of. Otherwise the engine would give
 * it back at a moment of its own choosing, in the middle of another test that counts bytes. test/concurrency/collection.test.ts has
 * collection tested, in processes of its own.
 */
const Registry = FinalizationRegistry

globalThis.FinalizationRegistry = class<T> extends Registry<T> {
  override register(target: WeakKey, held: T, token?: WeakKey): void {
    const isOurs = (held as { constructor?: { name?: unknown } } | null)?.constructor?.name === 'Lifetime'
    if (!isOurs) super.register(target, held, token)
  }
}
