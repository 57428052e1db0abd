/* Places six experts on three ranks of three slots, and again after their loads have changed. */
#include <ballast_policies.h>
#include <stdio.h>

enum { layers = 1, experts = 6, ranks = 3, slots = 9 };

static int failed(const char* call, const ballast_error* error) {
  fprintf(stderr, "%s: %s\n", call, error->text);
  return 1;
}

static void show(const char* when, const int32_t* map, const ballast_summary* summary) {
  printf("%s:", when);
  for (int k = 0; k < slots; ++k) printf("%s%d", k % (slots / ranks) == 0 ? "  " : " ", map[k]);
  printf("   peak %.3f, %d moves\n", summary->peak_after, (int)summary->moves);
}

int main(void) {
  const uint32_t room[ranks] = {3, 3, 3};
  const ballast_shape shape = {
      .size = sizeof shape, .layers = layers, .experts = experts, .groups = 1, .ranks = ranks, .slots = room};
  const double morning[layers * experts] = {60, 10, 10, 10, 5, 5}, evening[layers * experts] = {10, 10, 60, 10, 5, 5};
  ballast_loads loads = {.size = sizeof loads, .last = morning};
  ballast_summary summary = {.size = sizeof summary};
  ballast_error error;
  int32_t map[layers * slots];

  ballast_options* fresh = ballast_options_new("fresh", &error);
  if (fresh == NULL) return failed("options", &error);
  if (ballast_plan(&shape, fresh, &loads, NULL, map, &summary, &error) != BALLAST_OK) return failed("plan", &error);
  ballast_options_free(fresh);
  show("fresh  ", map, &summary);

  ballast_options* economy = ballast_options_new("economy", &error);
  if (economy == NULL) return failed("options", &error);
  if (ballast_options_set(economy, "write_price", 0.01, &error) != BALLAST_OK) return failed("options", &error);
  loads.last = evening;
  if (ballast_plan(&shape, economy, &loads, map, map, &summary, &error) != BALLAST_OK) return failed("plan", &error);
  ballast_options_free(economy);
  show("economy", map, &summary);

  double shares[layers * slots], peak, bound;
  if (ballast_solve_shares(&shape, NULL, map, evening, shares, &peak, &bound, &error) != BALLAST_OK)
    return failed("shares", &error);
  printf("shares : ");
  for (int k = 0; k < slots; ++k) printf("%s%.2f", k % (slots / ranks) == 0 ? "  " : " ", shares[k]);
  printf("   peak %.3f, no shares can fall below %.3f\n", peak, bound);
  return ballast_validate(&shape, map, &error) == BALLAST_OK ? 0 : failed("validate", &error);
}
