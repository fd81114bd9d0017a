/** What a store holds of one conversation. */
export interface StoredConversation {
  /** How often the conversation was written: 1 after it was created. */
  readonly version: number
  /** Its entries, by name. */
  readonly entries: ReadonlyMap<string, Uint8Array>
  /**
   * Gives the memory of the entries back before it is collected, where a store can: called, if at all, by who needs them no
   * longer. Nothing reads them afterwards.
   */
  readonly release?: (() => void) | undefined
}

/**
 * Keeps conversations, each as a few named entries of bytes. A conversation may be read and written from several
 * processes: whoever writes says which version that makes, and of two that make the same one, one is told that it lost.
 *
 * Methods reject if the store fails (a full disk, say); nothing has changed then. They copy what they are given, or
 * return what nobody changes later.
 */
export interface ConversationStore {
  /**
   * @param id of the conversation
   * @param prefix of the names of the entries wanted; '' for all
   * @returns undefined if there is no such conversation
   */
  read(id: string, prefix: string): Promise<StoredConversation | undefined>
  /**
   * Adds entries and replaces those of the same name, all or none; once the promise resolves, they survive the death of
   * the process. A conversation begins with version 1.
   * @param version one more than the version that the caller knows; 1 to create the conversation
   * @returns whether that was the stored version: if not, nothing is written
   */
  write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean>
  /**
   * Forgets a conversation with all its entries.
   * @returns whether there was one
   */
  delete(id: string): Promise<boolean>
}
