import { type ErrorDetails, RoutedAttentionError } from '../../errors.js'

const LATER = 'trying again later may help'

/** A failure that may not recur. */
export class BrokenTransfer extends RoutedAttentionError {
  /**
   * @param why what happened
   * @param details of the error
   * @param advice what to do about it
   */
  constructor(
    private readonly why: string,
    private readonly details: ErrorDetails = {},
    private readonly advice = LATER,
  ) {
    super('NETWORK', `${why}; ${advice}`, details)
  }

  /** The final error after all attempts; refers to nothing but its cause. */
  after(tries: number): RoutedAttentionError {
    const tried = tries > 1 ? `; it was tried ${tries} times without progress` : ''
    return new RoutedAttentionError('NETWORK', `${this.why}${tried}; ${this.advice}`, this.details)
  }
}
