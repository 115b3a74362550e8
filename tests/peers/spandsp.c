/* Another detector for `helpline bench dtmf --against`: libspandsp's dtmf_rx.
 * In: signed 16-bit samples, 8 kHz. Out: `DIGIT MS` for each key of the first of so many
 * passes, MS when it was told, then `cpu SECONDS` of the fastest.
 * cc -O2 spandsp.c -o spandsp -lspandsp */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <spandsp.h>

static long told_at; /* samples given so far, or -1: not the first pass */

static void told(void *user, const char *digits, int count)
{
    (void) user;
    for (int n = 0; n < count && told_at >= 0; n++)
        printf("%c %.1f\n", digits[n], told_at / 8.0);
}

int main(int argc, char **argv)
{
    int passes = argc > 1 ? atoi(argv[1]) : 1;
    size_t count = 0, room = 1 << 20;
    int16_t *sound = malloc(room * sizeof *sound);
    for (size_t more; (more = fread(sound + count, sizeof *sound, room - count, stdin)) > 0;) {
        count += more;
        if (count == room)
            sound = realloc(sound, (room *= 2) * sizeof *sound);
    }
    double best = 1e9;
    for (int pass = 0; pass < passes; pass++) {
        dtmf_rx_state_t *state = dtmf_rx_init(NULL, told, NULL);
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        for (size_t at = 0; at < count; at += 160) {
            int length = count - at < 160 ? (int) (count - at) : 160;
            told_at = pass ? -1 : (long) at + length;
            dtmf_rx(state, sound + at, length);
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        double took = (to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) * 1e-9;
        best = took < best ? took : best;
        dtmf_rx_free(state);
    }
    printf("cpu %.6f\n", best);
    return 0;
}
