// The parts that step() is made of, each in the file named above its functions. Internal to the cluster machine.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "coordinator/cluster_machine.hpp"
#include "coordinator/cluster_state.hpp"

namespace ballast::cluster {

// The state under change and what is to be done about it.
struct context {
  cluster_state& s;
  effects& out;
  operation& op() { return *s.running; }
};

// ---- cluster_seats.cpp: who is there
seat_record* find_seat(cluster_state& s, seat_id seat);
const seat_record* find_seat(const cluster_state& s, seat_id seat);
bool contains(const std::vector<seat_id>& seats, seat_id seat);
std::vector<seat_id> joined(std::vector<seat_id> a, const std::vector<seat_id>& b);          // sorted union
std::vector<seat_id> without(const std::vector<seat_id>& a, const std::vector<seat_id>& b);  // in a's order
bool alive(const cluster_state& s, seat_id seat);
std::vector<seat_id> alive_only(const cluster_state& s, const std::vector<seat_id>& seats);
std::vector<seat_id> seats_in(const cluster_state& s, seat_state state);
void set_seat_state(context& c, seat_id seat, seat_state to);
void set_members(cluster_state& s, std::vector<seat_id> members);
policies::seat_info info_of(const cluster_state& s, seat_id seat, model_index model);
std::vector<policies::seat_info> infos_of(const cluster_state& s, const std::vector<seat_id>& seats, model_index model);

// ---- cluster_members.cpp: joining, beating, being lost
void on_hello(context& c, const std::string& peer, std::uint64_t id, const hello& h);
void on_heartbeat(context& c, const std::string& peer, const heartbeat& h);
void on_trouble(context& c, const seat_trouble& t);
void look_for_silent_seats(context& c);
void on_connection(context& c, const std::string& peer, bool open);
void look_for_ended_agents(context& c);
void lose_seats(context& c, const std::vector<seat_id>& seats, const std::string& why);
void lose_agent(context& c, const std::string& agent, const std::string& why);
// The record of the seat if (seat, incarnation) is its living one; otherwise the sender is told that it is fenced.
seat_record* living(context& c, const std::string& peer, seat_id seat, incarnation_t incarnation);

// ---- cluster_requests.cpp: what operators ask for
void on_request(context& c, const std::string& peer, std::uint64_t id, const scale_request& r);
void on_request(context& c, const std::string& peer, std::uint64_t id, const rebalance_request& r);
void on_request(context& c, const std::string& peer, std::uint64_t id, const abort_request& r);

// ---- cluster_choice.cpp: which seats a scale is to have
// Seats for `ranks`: members stay as far as they can, nodes are filled evenly, ties go to the lower seat. Errors:
// not_found.
result<std::vector<seat_id>> choose_seats(const cluster_state& s, const order& o);
status fits(const cluster_state& s, const std::vector<seat_id>& seats);

// ---- cluster_status.cpp: what operators are told
cluster_status status_of(const cluster_state& s);
operation_list operations_of(const cluster_state& s);
seat_status status_of(const cluster_state& s, const seat_record& r);
operation_status report_of(const cluster_state& s, const order& o);
void refresh_report(cluster_state& s);  // phase, awaited seats and figures of the running operation
void tell(context& c, std::string kind, std::string text, const operation_status* operation = nullptr,
          std::vector<seat_status> seats = {});
void log_line(context& c, std::string text, bool warning = false);
void note_replay(context& c, const std::string& what);  // counts it; a line a second at most

// ---- cluster_loads.cpp: windows and the trigger
void on_load_summary(context& c, const load_summary& l);
void look_at_balance(context& c);  // decides, where a step interval has passed
void on_preview(context& c, const preview_request& asked, const result<plan>& made);
struct verdict {
  bool pays = false;
  std::string explanation;
};
verdict weigh(const cluster_state& s, const model_plan& m);
policies::benefit_question question_of(const cluster_state& s, const model_record& m);  // without a plan's figures
double observed_imbalance(const cluster_state& s, const model_record& m, model_index index);
std::uint64_t copies_on_busiest(const model_plan& m);  // the receiver that gets most
policies::imbalance_report imbalance_of(const cluster_state& s, const model_record& m, model_index index);

// ---- cluster_shares.cpp: shares of the replicas in use, many times a second
// The newest loads: `scale` doubles the least steps and tokens so many times.
policies::load_window::bucket latest_loads(const cluster_state& s, const model_record& m, unsigned scale = 0);
void look_at_shares(context& c);  // asks the planner, where new loads have come and nothing runs
void on_shares(context& c, const result<plan>& made);

// ---- cluster_speeds.cpp: what the ranks and the copies were measured to take
void measure_pace(cluster_state& s, const load_summary& l);
void measure_beat(cluster_state& s, const seat_beat& beat);
void measure_moves(cluster_state& s, const operation& op);  // that is over
void begin_moving(cluster_state& s);
double speed_of(const cluster_state& s, const seat_record& r);

// ---- cluster_recording.cpp: `record_stats`
void record_loads(context& c, model_index model);

// ---- cluster_queue.cpp: the arbiter
void keep(context& c, const operation_status& report);  // a journal record: of every phase, and of every end
operation_id enqueue(context& c, order o);
void begin_next(context& c);  // when nothing is running: the first that waits, or what the cluster itself wants
void begin(context& c, order o);
void finish(context& c, std::string outcome, std::string reason);
void close_order(context& c, const order& o, const std::string& outcome, const std::string& reason);  // never begun

// ---- cluster_operation.cpp: the running operation, phase by phase
void follow(context& c, std::vector<phase> phases);  // takes up a program
void enter_phase(context& c);                        // the first of the program; passes phases without anything to do
void leave_phase(context& c);                        // the round is complete
void apply(context& c, reaction r, const std::string& why, const std::vector<seat_id>& culprits);
void undo(context& c, const std::string& why);
void set_up_grow(context& c);
void set_up_shrink(context& c);
void take_switch(context& c);  // members, tables and epoch are those after the switch

// ---- cluster_replace.cpp: losses
void recover(context& c, const std::string& why);
void start_over(context& c, const std::string& why, const std::vector<seat_id>& culprits);  // of a replace
void go_out_of_service(context& c, const std::string& why);

// ---- cluster_rounds.cpp: commands and outcomes
// An empty list completes the round at once: the caller then calls leave_phase().
void start_round(context& c, std::vector<std::pair<seat_id, command_body>> commands);
void on_outcome(context& c, const seat_outcome& o);
void send_again(context& c, awaited_answer& a);  // as a new command
void drop_from_rounds(context& c, const std::vector<seat_id>& lost);
void repeat_commands(context& c, seat_id seat);  // those that its answers are awaited to
void look_at_round(context& c);  // repeats and deadlines

// ---- cluster_commands.cpp: what each phase says to whom
std::vector<std::pair<seat_id, command_body>> commands_of(context& c, phase p);
const policies::wave* wave_of(const operation& op);

// ---- cluster_planning.cpp: problems out, plans in
void ask_for_plan(context& c);
void ask_again_for_plan(context& c);  // after a restart: the question was not kept
void on_plan(context& c, result<plan> made);
void plan_for_latest(const cluster_state& s, plan_request& asked);  // the window as it was becomes history
plan_request make_request(cluster_state& s, plan_kind kind, const std::vector<model_index>& models,
                          const std::vector<seat_id>& onto, const std::vector<seat_id>& everyone);

}  // namespace ballast::cluster
