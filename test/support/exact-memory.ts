/**
 * Set up before every test file: what a test lets go of stays until it is disposed of. Otherwise the engine would give it back at a moment of its own
 * choosing, in the middle of another test that counts bytes. test/collection.test.ts has collection tested, in processes of its own.
 */
delete (globalThis as { FinalizationRegistry?: unknown }).FinalizationRegistry
