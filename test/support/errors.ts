import { expect } from 'vitest'
import { type ErrorCode, RoutedAttentionError } from '../../src/errors.js'

/** What a call threw or rejected with must be this package's error, with this code and a message that matches. */
export function expectError(error: unknown, code: ErrorCode, message: RegExp = /./): void {
  expect(error).toBeInstanceOf(RoutedAttentionError)
  expect({ code: (error as RoutedAttentionError).code, message: (error as Error).message }).toEqual({
    code,
    message: expect.stringMatching(message) as string,
  })
}

export function expectThrows(call: () => unknown, code: ErrorCode, message?: RegExp): void {
  let thrown: unknown = 'nothing'
  try {
    call()
  } catch (error) {
    thrown = error
  }
  expectError(thrown, code, message)
}

export async function expectRejects(promise: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> {
  expectError(
    await promise.then(
      () => 'nothing',
      (error: unknown) => error,
    ),
    code,
    message,
  )
}
